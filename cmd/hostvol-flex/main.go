// Command hostvol-flex serves the FlexVolume protocol of the kubelet. Installed
// under the name of a driver (local, nfs, cifs, lvm) it is that driver. Under its
// own name it installs and removes drivers, and leads their volumes to CSI.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hostvol/hostvol/pkg/flex"
	"github.com/hostvol/hostvol/pkg/host/run"
	"github.com/hostvol/hostvol/pkg/version"
)

func main() {
	if code, is := run.Guard(os.Args); is {
		os.Exit(code)
	}
	if code, is := flex.TakeOff(os.Args, os.Stderr); is {
		os.Exit(code)
	}
	if name, is := driver(os.Args); is {
		os.Exit(call(os.Args[0], name, os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hostvol-flex:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// driver tells whether the program is called as a driver, and as which: by its own
// file's name. Under another name than a driver's, what begins with a call is one,
// and under the name hostvol-flex it is one to local.
func driver(args []string) (name string, is bool) {
	name = filepath.Base(args[0])
	if slices.Contains(drivers(), name) {
		return name, true
	}
	is = len(args) > 1 && flex.IsCall(args[1])
	if name == "hostvol-flex" {
		name = "local"
	}
	return name, is
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "hostvol-flex",
		Short: "FlexVolume drivers of hostvol",
		Long: "hostvol-flex installs and removes the FlexVolume drivers of hostvol, and leads\n" +
			"their volumes to CSI. Installed under a driver's name it is that driver.",
		SilenceUsage: true, SilenceErrors: true,
	}
	c.AddCommand(install(), uninstall(), migrate(), printVersion())
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
