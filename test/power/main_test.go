//go:build power

package power

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/app"
	"github.com/hostvol/hostvol/pkg/config"
	"github.com/hostvol/hostvol/pkg/host/freeze"
	"github.com/hostvol/hostvol/test/power/logwrites"
)

// In the environment these make this binary the daemon.
const (
	daemonVariable = "HOSTVOL_POWER_DAEMON"
	// markVariable names the device in whose log each step is marked; "" for none.
	markVariable = "HOSTVOL_POWER_MARK"
	// unsafeVariable makes every sync of the daemon do nothing.
	unsafeVariable = "HOSTVOL_POWER_UNSAFE"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == app.GuardCommand {
		if err := guard(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "guard:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(daemonVariable) == "" {
		os.Exit(m.Run())
	}
	if err := serve(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "daemon:", err)
		os.Exit(1)
	}
}

// guard is `hostvol freeze-guard`, which the daemon starts.
func guard(limit string) error {
	d, err := time.ParseDuration(limit)
	if err != nil {
		return err
	}
	return freeze.Guard(d, os.Stdin, os.Stdout)
}

// serve is `hostvol serve` with marks. It understands the arguments that package daemon gives.
func serve(args []string) error {
	var over config.Config
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	file := f.String("config", "", "")
	f.StringVar(&over.Endpoint, "endpoint", "", "")
	f.StringVar(&over.AdminEndpoint, "admin-endpoint", "", "")
	f.StringVar(&over.NodeID, "node-id", "", "")
	f.StringVar(&over.KubeletDir, "kubelet-dir", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	cfg, err := config.Read(*file)
	if err != nil {
		return err
	}
	cfg.Endpoint, cfg.AdminEndpoint, cfg.NodeID, cfg.KubeletDir = over.Endpoint, over.AdminEndpoint, over.NodeID, over.KubeletDir
	cfg.Complete()
	if err := cfg.Check(); err != nil {
		return err
	}
	if os.Getenv(unsafeVariable) != "" {
		if err := syncNothing(); err != nil {
			return err
		}
	}
	var options app.Options
	if device := os.Getenv(markVariable); device != "" {
		marker, err := logwrites.NewMarker(device)
		if err != nil {
			return err
		}
		options.Step = func(name string) {
			if err := marker.Mark(stepMark + name); err != nil {
				panic(err)
			}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return app.Run(klog.NewContext(ctx, klog.Background()), cfg, options)
}
