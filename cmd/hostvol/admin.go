package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/app"
	"github.com/hostvol/hostvol/pkg/config"
)

// asking makes a command that asks the running daemon.
func asking(use, short string, args cobra.PositionalArgs, run func(c *cobra.Command, client *admin.Client, args []string) error) *cobra.Command {
	var endpoint, file, runDir string
	c := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			s := settings{file: file}
			s.over.AdminEndpoint, s.over.RunDir, s.over.NodeID = endpoint, runDir, "NODE" // only the socket is wanted
			cfg, err := s.load()
			if err != nil {
				return err
			}
			if cfg.AdminEndpoint == config.None {
				return fmt.Errorf("the configuration switches the admin endpoint off")
			}
			socket, err := config.Socket(cfg.AdminEndpoint)
			if err != nil {
				return err
			}
			return run(c, admin.NewClient(socket), args)
		},
	}
	addAdmin(c.Flags(), &endpoint)
	addRunDir(c.Flags(), &runDir)
	c.Flags().StringVar(&file, "config", "", "the daemon's configuration file, for the socket")
	return c
}

func pools() *cobra.Command {
	var out output
	c := asking("pools", "List the pools", cobra.NoArgs, func(c *cobra.Command, client *admin.Client, _ []string) error {
		list, err := client.Pools(c.Context())
		if err != nil {
			return err
		}
		return out.print(c.OutOrStdout(), list, func(row func(...string)) {
			row("NAME", "PATH", "FILESYSTEM", "ENFORCED BY", "VOLUMES", "RESERVED", "LIMIT", "AVAILABLE", "TRASH", "STATE")
			for _, p := range list {
				state := "ok"
				switch {
				case !p.Open:
					state = "closed: " + p.Problem
				case p.Problem != "":
					state = p.Problem
				case p.Quarantined > 0:
					state = strconv.Itoa(p.Quarantined) + " quarantined"
				}
				method := p.Enforcement
				if method == "" {
					method = "-"
				}
				if !p.Open {
					row(p.Name, p.Path, "-", "-", "-", "-", "-", "-", "-", state)
					continue
				}
				row(p.Name, p.Path, p.Filesystem, method, strconv.Itoa(p.Volumes), size(p.ReservedBytes), size(p.LimitBytes), size(p.Available), size(p.TrashBytes), state)
			}
		})
	})
	out.add(c)
	return c
}

func volumes() *cobra.Command {
	var out output
	c := asking("volumes", "List the volumes and where they are mounted", cobra.NoArgs, func(c *cobra.Command, client *admin.Client, _ []string) error {
		list, err := client.Volumes(c.Context())
		if err != nil {
			return err
		}
		return out.print(c.OutOrStdout(), list, func(row func(...string)) {
			row("ID", "POOL", "KIND", "SIZE", "USED", "ENFORCED", "CREATED", "EPHEMERAL OF POD", "ATTACHED BY", "MOUNTED AT")
			for _, v := range list {
				at := strings.Join(v.Targets, ",")
				if at == "" {
					at = "-"
				}
				row(v.ID, v.Pool, v.Kind, size(v.Bytes), size(v.UsedBytes), yes(v.Enforced), v.Created.Local().Format(time.DateTime), cmp.Or(v.Pod, "-"), cmp.Or(v.Attached, "-"), at)
			}
		})
	})
	out.add(c)
	return c
}

func snapshots() *cobra.Command {
	var out output
	c := asking("snapshots", "List the snapshots and the volumes they are of", cobra.NoArgs, func(c *cobra.Command, client *admin.Client, _ []string) error {
		list, err := client.Snapshots(c.Context())
		if err != nil {
			return err
		}
		return out.print(c.OutOrStdout(), list, func(row func(...string)) {
			row("ID", "POOL", "OF VOLUME", "GROUP", "SIZE", "HELD", "CONSISTENCY", "METHOD", "CREATED")
			for _, s := range list {
				row(s.ID, s.Pool, s.SourceID, cmp.Or(s.Group, "-"), size(s.Bytes), size(s.HeldBytes), s.Consistency, s.Method, s.Created.Local().Format(time.DateTime))
			}
		})
	})
	out.add(c)
	return c
}

func adopt() *cobra.Command {
	var out output
	var a admin.Adoption
	var bytes string
	var execute bool
	c := asking("adopt --pool POOL --name NAME PATH", "Put an existing directory under management", cobra.ExactArgs(1), func(c *cobra.Command, client *admin.Client, args []string) error {
		a.Path, a.DryRun = args[0], !execute
		var err error
		if bytes != "" {
			if a.Bytes, err = parseSize(bytes); err != nil {
				return err
			}
		}
		v, err := client.Adopt(c.Context(), a)
		if err != nil {
			return err
		}
		return out.print(c.OutOrStdout(), v, func(row func(...string)) {
			if a.DryRun {
				row(fmt.Sprintf("%s can become volume %s of pool %s (%s, enforced: %s). Nothing was done; repeat with --execute.", a.Path, v.ID, v.Pool, size(v.Bytes), yes(v.Enforced)))
				return
			}
			row(fmt.Sprintf("%s is volume %s of pool %s now (%s, enforced: %s). Use the volumeHandle %s; `hostvol release %s` undoes it.", a.Path, v.ID, v.Pool, size(v.Bytes), yes(v.Enforced), v.Handle, v.ID))
		})
	})
	c.Long = "Moves a directory into a pool on the same filesystem, by one rename, and makes\n" +
		"it a volume. Its size is not enforced, unless --convert is given: then each file\n" +
		"is put under the volume's quota (XFS, ext4), or the content is copied, sharing\n" +
		"the data, into a subvolume (btrfs; the original stays where it is).\n" +
		"Only what would be done is told, unless --execute is given."
	f := c.Flags()
	f.StringVar(&a.Pool, "pool", "", "pool that takes it")
	f.StringVar(&a.Name, "name", "", "the volume's id, which PersistentVolumes give as volumeHandle")
	f.StringVar(&bytes, "size", "", "the volume's size (default 1Gi)")
	f.BoolVar(&a.Convert, "convert", false, "make the size enforced")
	f.BoolVar(&execute, "execute", false, "do it")
	_ = c.MarkFlagRequired("pool")
	_ = c.MarkFlagRequired("name")
	out.add(c)
	return c
}

func release() *cobra.Command {
	return asking("release NAME", "Undo an adoption: give the directory back", cobra.ExactArgs(1), func(c *cobra.Command, client *admin.Client, args []string) error {
		r, err := client.Release(c.Context(), args[0])
		if err == nil {
			_, err = fmt.Fprintf(c.OutOrStdout(), "The directory is back at %s; volume %s is gone.\n", r.Origin, args[0])
		}
		return err
	})
}

func remove() *cobra.Command {
	return asking("delete NAME", "Move a volume that nobody has mounted to the trash; not one of a claim, which kubectl deletes", cobra.ExactArgs(1), func(c *cobra.Command, client *admin.Client, args []string) error {
		d, err := client.Delete(c.Context(), args[0])
		if err == nil {
			_, err = fmt.Fprintf(c.OutOrStdout(), "Volume %s is deleted; `hostvol trash list` tells until when `hostvol trash restore` brings it back.\n", d.ID)
		}
		return err
	})
}

func check() *cobra.Command {
	var out output
	var s settings
	c := &cobra.Command{
		Use: "check", Short: "Check the invariants of the pools", Args: cobra.NoArgs,
		Long: "Reads every pool from its disk and tells what is wrong with it. With a running\n" +
			"daemon, what it believes and the mount table are compared with the disk; without\n" +
			"one, only the disk is read. The exit status is 1 when something is wrong.",
		RunE: func(c *cobra.Command, _ []string) error {
			s.over.NodeID = "NODE"
			cfg, err := s.load()
			if err != nil {
				return err
			}
			faults, online, err := app.Check(c.Context(), cfg)
			if err != nil {
				return err
			}
			err = out.print(c.OutOrStdout(), faults, func(row func(...string)) {
				how := "The daemon is not running; only the disk was checked."
				if online {
					how = "The daemon checked its pools."
				}
				if len(faults) == 0 {
					row(how + " Nothing is wrong.")
					return
				}
				row("POOL", "ITEM", "REASON", "MESSAGE")
				for _, f := range faults {
					row(f.Pool, f.Item, f.Reason, f.Message)
				}
			})
			if err == nil && len(faults) > 0 {
				err = fmt.Errorf("something is wrong: %d found", len(faults))
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&s.file, "config", "", "the daemon's configuration file")
	f.StringArrayVar(&s.pools, "pool", nil, "NAME=PATH of a pool; may be repeated")
	addAdmin(f, &s.over.AdminEndpoint)
	addRunDir(f, &s.over.RunDir)
	out.add(c)
	return c
}
