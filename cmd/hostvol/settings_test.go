package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// loaded reads a file and a command line as serve does.
func loaded(t *testing.T, file string, line ...string) (*settings, error) {
	t.Helper()
	var s settings
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	s.add(f)
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		line = append(line, "--config", path)
	}
	return &s, f.Parse(line)
}

func TestFlagsGoOverTheFile(t *testing.T) {
	s, err := loaded(t, "nodeID: file\nmode: distributed\nmetricsAddress: 127.0.0.1:1\npools: [{name: a, path: /a, limit: 1Gi}, {name: b, path: /b}]",
		"--node-id", "flag", "--pool", "a=/other", "--pool", "c=/c", "--driver-name", "x.example.com")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	if c.NodeID != "flag" || c.Mode != "distributed" || c.MetricsAddress != "127.0.0.1:1" {
		t.Errorf("%+v", c)
	}
	if c.Endpoint != "unix:///var/lib/kubelet/plugins/x.example.com/csi.sock" {
		t.Errorf("the defaults do not follow the flags: %s", c.Endpoint)
	}
	if len(c.Pools) != 3 || c.Pools[0].Path != "/other" || c.Pools[0].Limit.Value() != 1<<30 || c.Pools[0].Create || c.Pools[1].Path != "/b" ||
		c.Pools[2].Name != "c" || !c.Pools[2].Create {
		t.Errorf("%+v", c.Pools)
	}
}

func TestTheFixedCommandLine(t *testing.T) {
	s, err := loaded(t, "", "--endpoint", "unix:///tmp/csi.sock", "--node-id", "n", "--pool", "a=/a", "--pool", "b=/b",
		"--kubelet-dir", "/k", "--mode", "single", "--admin-endpoint", "unix:///tmp/admin.sock", "--metrics-address", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	if c.Endpoint != "unix:///tmp/csi.sock" || c.NodeID != "n" || len(c.Pools) != 2 || c.KubeletDir != "/k" || c.Mode != "single" ||
		c.AdminEndpoint != "unix:///tmp/admin.sock" || c.MetricsAddress != "127.0.0.1:9" {
		t.Errorf("%+v", c)
	}
}

func TestWrongSettings(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		line []string
		why  string
	}{
		"no node":      {"", nil, "--node-id"},
		"pool":         {"", []string{"--node-id", "n", "--pool", "a"}, "NAME=PATH"},
		"pool path":    {"", []string{"--node-id", "n", "--pool", "a="}, "path"},
		"pool name":    {"", []string{"--node-id", "n", "--pool", "=/a"}, "name"},
		"file":         {"x: y", []string{"--node-id", "n"}, `"x"`},
		"mode by flag": {"mode: single", []string{"--node-id", "n", "--mode", "none"}, `"none"`},
	} {
		s, err := loaded(t, c.file, c.line...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.load(); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCommands(t *testing.T) {
	have := map[string]bool{}
	for _, c := range root().Commands() {
		have[c.Name()] = true
		if c.Short == "" {
			t.Errorf("%s is not explained", c.Name())
		}
	}
	for _, name := range []string{"serve", "check-config", "version", "pools", "volumes", "adopt", "release", "trash", "check"} {
		if !have[name] {
			t.Errorf("no command %s", name)
		}
	}
}
