package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostvol/hostvol/pkg/admin"
)

func trash() *cobra.Command {
	c := &cobra.Command{Use: "trash", Short: "Look after deleted volumes and snapshots"}
	c.AddCommand(trashList(), trashRestore(), trashPurge())
	return c
}

func trashList() *cobra.Command {
	var out output
	c := asking("list", "List deleted volumes and snapshots that are not purged", cobra.NoArgs, func(c *cobra.Command, client *admin.Client, _ []string) error {
		list, err := client.Trash(c.Context())
		if err != nil {
			return err
		}
		return out.print(c.OutOrStdout(), list, func(row func(...string)) {
			row("ENTRY", "KIND", "POOL", "SIZE", "DELETED", "PURGED AFTER", "STATE")
			for _, e := range list {
				state := "can be restored"
				switch {
				case e.Problem != "":
					state = e.Problem
				case e.Purging:
					state = "being purged"
				}
				expiry := "by hand"
				if !e.ByHand {
					expiry = e.Expiry.Local().Format(time.DateTime)
				}
				row(e.Name, e.Kind, e.Pool, size(e.Bytes), e.Deleted.Local().Format(time.DateTime), expiry, state)
			}
		})
	})
	out.add(c)
	return c
}

func trashRestore() *cobra.Command {
	return asking("restore ENTRY|ID", "Bring a deleted volume or snapshot back", cobra.ExactArgs(1), func(c *cobra.Command, client *admin.Client, args []string) error {
		r, err := client.Restore(c.Context(), args[0])
		if err == nil {
			kind := strings.ToUpper(r.Kind[:1]) + r.Kind[1:]
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s %s is back in pool %s. Use the %sHandle %s.\n", kind, r.ID, r.Pool, r.Kind, r.Handle)
		}
		return err
	})
}

func trashPurge() *cobra.Command {
	var all bool
	c := asking("purge ENTRY|ID", "Remove a deleted volume or snapshot for good, now", cobra.MaximumNArgs(1), func(c *cobra.Command, client *admin.Client, args []string) error {
		if all == (len(args) == 1) {
			return fmt.Errorf("name one entry, or give --all")
		}
		name := ""
		if len(args) == 1 {
			name = args[0]
		}
		p, err := client.Purge(c.Context(), name)
		if err == nil {
			_, err = fmt.Fprintf(c.OutOrStdout(), "Purged: %d.\n", p.Entries)
		}
		return err
	})
	c.Flags().BoolVar(&all, "all", false, "purge everything in the trash")
	return c
}
