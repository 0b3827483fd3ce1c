package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	installer "github.com/hostvol/hostvol/pkg/flex/install"
	"github.com/hostvol/hostvol/pkg/version"
)

// How often a process that stays looks again, and how soon one that waits for pods
// to go tries again.
const (
	lookEvery  = time.Minute
	retryEvery = 5 * time.Second
)

// place are the flags of both commands.
func place(f *pflag.FlagSet, o *installer.Options) {
	f.StringVar(&o.Dir, "plugin-dir", installer.DefaultDir, "the kubelet's --volume-plugin-dir")
	f.StringVar(&o.Vendor, "vendor", installer.DefaultVendor, "vendor: manifests name a driver VENDOR/DRIVER")
}

func install() *cobra.Command {
	o, stay, timeout := &installer.Options{}, false, time.Duration(0)
	c := &cobra.Command{
		Use:   "install",
		Short: "Install or upgrade the drivers where the kubelet finds them",
		Long: "Install or upgrade the drivers, as copies of this executable, where the kubelet\n" +
			"finds them while it runs. What is as it should be is not touched.\n\n" +
			"The flags are all there is to say: a setting that is not given has its default,\n" +
			"whatever was given before.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Settings.Timeout.Duration = timeout
			return with(o, func(i *installer.Installer) error {
				if stay {
					return i.Keep(logging(c.Context()), lookEvery)
				}
				all, err := i.Install(c.Context())
				tell(c.OutOrStdout(), c.ErrOrStderr(), all)
				return err
			})
		},
	}
	f, s := c.Flags(), &o.Settings
	f.SortFlags = false
	place(f, o)
	f.StringSliceVar(&o.Drivers, "drivers", []string{"local"}, "drivers to install: "+strings.Join(installer.Drivers(), ","))
	f.StringVar(&s.KubeletDir, "kubelet-dir", "", "the kubelet's --root-dir (default /var/lib/kubelet)")
	f.StringVar(&s.Socket, "socket", "", "the daemon's socket, which local asks (default plugins/hostvol.csi.io/flex.sock below --kubelet-dir)")
	f.StringVar(&s.Log, "log", "", "where drivers log: the path of a file, journald, or nothing")
	f.DurationVar(&timeout, "timeout", 0, "how long a call of the kubelet may take (default 1m)")
	f.StringSliceVar(&s.LVM.Groups, "lvm-groups", nil, "volume groups that lvm may use; none otherwise")
	f.BoolVar(&s.LVM.Create, "lvm-create", false, "lvm makes a volume for a pod that gives a size")
	f.BoolVar(&s.LVM.Attach, "lvm-attach", false, "lvm is attached by kube-controller-manager, beside which it is installed, too")
	f.BoolVar(&o.Force, "force", false, "replace another's executable of that name, which is kept as .DRIVER.replaced")
	f.BoolVar(&stay, "stay", false, "stay, look again each minute and repair, until SIGTERM; the drivers stay then")
	return c
}

func uninstall() *cobra.Command {
	o, wait, stay := &installer.Options{}, false, false
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the drivers",
		Long: "Remove the drivers while the kubelet runs. A driver of which pods have volumes\n" +
			"stays, since without it the kubelet cannot unmount them. What is not of hostvol\n" +
			"stays, too.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(o, func(i *installer.Installer) error {
				if !wait && !stay {
					all, err := i.Uninstall(c.Context())
					tell(c.OutOrStdout(), c.ErrOrStderr(), all)
					return err
				}
				ctx := logging(c.Context())
				if err := i.Remove(ctx, retryEvery); err != nil || !stay {
					return err
				}
				<-ctx.Done()
				return nil
			})
		},
	}
	f := c.Flags()
	f.SortFlags = false
	place(f, o)
	f.StringSliceVar(&o.Drivers, "drivers", installer.Drivers(), "drivers to remove")
	f.StringVar(&o.KubeletDir, "kubelet-dir", "", "the kubelet's --root-dir, where volumes are looked for (default: as it was installed)")
	f.BoolVar(&o.Force, "force", false, "remove a driver although its volumes are mounted")
	f.BoolVar(&wait, "wait", false, "try again until nothing is in the way")
	f.BoolVar(&stay, "stay", false, "the same, and then stay until SIGTERM")
	return c
}

// with does something with an installer of the running executable.
func with(o *installer.Options, do func(*installer.Installer) error) (err error) {
	self, err := installer.Self()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, self.Close()) }()
	o.Program = self
	i, err := installer.New(*o)
	if err != nil {
		return err
	}
	return do(i)
}

// logging gives the context a log to standard error, in the daemon's form.
func logging(ctx context.Context) context.Context {
	log := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(os.Stderr), textlogger.Verbosity(2)))
	log.Info("Started hostvol-flex", "version", version.Version)
	return klog.NewContext(ctx, log)
}

// tell tells a person what was done.
func tell(out, err io.Writer, all []installer.Done) {
	for _, done := range all {
		switch {
		case done.Removed:
			fmt.Fprintf(out, "%s: removed\n", done.Driver)
		case done.Program:
			fmt.Fprintf(out, "%s: installed %s\n", done.Driver, version.Version)
		case done.Settings:
			fmt.Fprintf(out, "%s: settings changed\n", done.Driver)
		default:
			fmt.Fprintf(out, "%s: nothing to do\n", done.Driver)
		}
		for _, note := range done.Notes {
			fmt.Fprintf(err, "%s: %s\n", done.Driver, note)
		}
	}
}
