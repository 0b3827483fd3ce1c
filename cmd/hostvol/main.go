// Command hostvol is the daemon, and the administrator's commands to it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hostvol/hostvol/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hostvol:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "hostvol",
		Short: "Volumes from the directories of a Kubernetes node",
		Long: "hostvol serves volumes to a container orchestrator through CSI, and lets an\n" +
			"administrator look after them.",
		SilenceUsage: true, SilenceErrors: true,
	}
	c.AddCommand(serve(), checkConfig(), printVersion(), pools(), volumes(), snapshots(), adopt(), release(), inspect(), remove(), trash(), check(), freezeGuard())
	return c
}

func printVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintln(c.OutOrStdout(), version.Version)
		},
	}
}
