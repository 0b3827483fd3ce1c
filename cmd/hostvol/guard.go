package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/hostvol/hostvol/pkg/app"
	"github.com/hostvol/hostvol/pkg/host/freeze"
)

// freezeGuard is what the daemon starts before it freezes a filesystem.
func freezeGuard() *cobra.Command {
	return &cobra.Command{
		Use: app.GuardCommand + " LIMIT", Short: "Thaw what the daemon has frozen if it cannot (started by the daemon)",
		Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			limit, err := time.ParseDuration(args[0])
			if err != nil {
				return err
			}
			return freeze.Guard(limit, c.InOrStdin(), c.OutOrStdout())
		},
	}
}
