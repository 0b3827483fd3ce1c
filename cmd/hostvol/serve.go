package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/app"
	"github.com/hostvol/hostvol/pkg/config"
)

// settings are the configuration file and the flags over it.
type settings struct {
	file  string
	over  config.Config
	pools []string
}

func (s *settings) add(f *pflag.FlagSet) {
	f.StringVar(&s.file, "config", "", "configuration file (YAML); flags override it")
	f.StringVar(&s.over.Endpoint, "endpoint", "", "CSI socket (default unix://KUBELET-DIR/plugins/DRIVER/csi.sock)")
	f.StringVar(&s.over.NodeID, "node-id", "", "name of this node in Kubernetes")
	f.StringArrayVar(&s.pools, "pool", nil, "NAME=PATH of a pool, which an empty directory becomes; may be repeated (default default=/var/lib/hostvol)")
	f.StringVar(&s.over.KubeletDir, "kubelet-dir", "", "the kubelet's --root-dir (default /var/lib/kubelet)")
	f.StringVar(&s.over.Mode, "mode", "", "single or distributed (default single)")
	f.StringVar(&s.over.Driver, "driver-name", "", "name of the CSI driver (default hostvol.csi.io)")
	f.StringVar(&s.over.MetricsAddress, "metrics-address", "", "HOST:PORT for /metrics and /healthz; none if empty")
	f.StringVar(&s.over.RegistrationPath, "registration-path", "", "the kubelet's plugins_registry, to register without a sidecar")
	addRunDir(f, &s.over.RunDir)
	addAdmin(f, &s.over.AdminEndpoint)
}

func addAdmin(f *pflag.FlagSet, to *string) {
	f.StringVar(to, "admin-endpoint", "", "socket of the admin commands, none for none (default unix://RUN-DIR/admin.sock)")
}

func addRunDir(f *pflag.FlagSet, to *string) {
	f.StringVar(to, "run-dir", "", "directory for what does not outlive a boot (default /run/hostvol)")
}

// load reads the file, puts the flags over it, and checks the whole.
func (s *settings) load() (config.Config, error) {
	var c config.Config
	var err error
	if s.file != "" {
		if c, err = config.Read(s.file); err != nil {
			return c, err
		}
	}
	for _, o := range []struct {
		to   *string
		from string
	}{
		{&c.Endpoint, s.over.Endpoint}, {&c.NodeID, s.over.NodeID}, {&c.KubeletDir, s.over.KubeletDir},
		{&c.Mode, s.over.Mode}, {&c.Driver, s.over.Driver}, {&c.MetricsAddress, s.over.MetricsAddress},
		{&c.RegistrationPath, s.over.RegistrationPath}, {&c.RunDir, s.over.RunDir}, {&c.AdminEndpoint, s.over.AdminEndpoint},
	} {
		if o.from != "" {
			*o.to = o.from
		}
	}
	if err := addPools(&c, s.pools); err != nil {
		return c, err
	}
	c.Complete()
	return c, c.Check()
}

// addPools puts --pool over the file: a new name is a new pool, a known one has
// its path replaced.
func addPools(c *config.Config, flags []string) error {
next:
	for _, f := range flags {
		name, path, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("--pool %q: it is NAME=PATH", f)
		}
		for i := range c.Pools {
			if c.Pools[i].Name == name {
				c.Pools[i].Path = path
				continue next
			}
		}
		c.Pools = append(c.Pools, config.Pool{Name: name, Path: path, Create: true})
	}
	return nil
}

func serve() *cobra.Command {
	var s settings
	var l logging
	c := &cobra.Command{
		Use: "serve", Short: "Run the daemon", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := s.load()
			if err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return fmt.Errorf("the daemon must run as root: it mounts volumes and keeps its records in trusted attributes")
			}
			log, flush := l.start()
			defer flush()
			return app.Run(klog.NewContext(c.Context(), log), cfg, app.Options{})
		},
	}
	s.add(c.Flags())
	l.add(c.Flags())
	return c
}

func checkConfig() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use: "check-config [FILE]", Short: "Check a configuration and print it with all defaults", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				s.file = args[0]
			}
			if s.over.NodeID == "" { // the node's name usually comes from a flag
				s.over.NodeID = "NODE"
			}
			cfg, err := s.load()
			if err != nil {
				return err
			}
			return printYAML(c.OutOrStdout(), cfg)
		},
	}
	s.add(c.Flags())
	return c
}
