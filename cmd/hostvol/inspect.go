package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hostvol/hostvol/pkg/admin"
)

func inspect() *cobra.Command {
	var mount, end, snapshot bool
	c := asking("inspect --mount|--end ID", "Mount a volume or snapshot read-only, to look into it", cobra.ExactArgs(1), func(c *cobra.Command, client *admin.Client, args []string) error {
		id, flags := args[0], ""
		if snapshot {
			flags = "--snapshot "
		}
		switch {
		case mount == end:
			return errors.New("give --mount or --end")
		case end:
			if err := client.EndInspection(c.Context(), id, snapshot); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s is not mounted for a look any more.\n", id)
			return err
		}
		in, err := client.Inspect(c.Context(), id, snapshot)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s is mounted read-only at %s. No pod gets it until `hostvol inspect --end %s%s`.\n", id, in.Path, flags, id)
		return err
	})
	c.Long = "Mounts the filesystem of a volume or snapshot below the kubelet's directory, where\n" +
		"it is seen on the node and in the driver's container. The device takes no writes,\n" +
		"and no journal is replayed, so nothing of the content changes. A volume that a pod\n" +
		"uses is refused, and a pod that wants the volume waits until the look has ended.\n" +
		"Never mount an image by hand that a pod may use: two devices under one filesystem\n" +
		"destroy it."
	f := c.Flags()
	f.BoolVar(&mount, "mount", false, "mount it, and say where")
	f.BoolVar(&end, "end", false, "unmount it")
	f.BoolVar(&snapshot, "snapshot", false, "ID is a snapshot's")
	return c
}
