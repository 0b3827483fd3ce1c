package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/pkg/admin"
)

// hostvol runs a command that needs no daemon.
func hostvol(args ...string) (string, error) {
	out, err := command(append([]string{os.Getenv("HOSTVOL_BINARY")}, args...)...).CombinedOutput()
	return string(out), err
}

func TestTablesAndJSON(t *testing.T) {
	n := serveOn(t, "btrfs", keeping(t)...)
	n.volume("a", bytes(1536*1024*1024))
	target := n.mounted("a", "pod")
	n.volume("b")
	must(t, n.remove("b"))
	for _, c := range []struct {
		command string
		words   []string
	}{
		{"pools", []string{"NAME", "RESERVED", "default", n.pool, "btrfs", "btrfs-qgroup", "1.5Gi", "16Mi", "ok"}},
		{"volumes", []string{"ID", "MOUNTED AT", "a", "1.5Gi", "yes", target}},
		{"trash list", []string{"ENTRY", "b@", "16Mi", "can be restored"}},
		{"check", []string{"The daemon checked its pools. Nothing is wrong."}},
	} {
		out := n.admin(strings.Fields(c.command)...)
		for _, word := range c.words {
			if !strings.Contains(out, word) {
				t.Errorf("%s lacks %q:\n%s", c.command, word, out)
			}
		}
		if out := n.refused(append(strings.Fields(c.command), "-o", "yaml")...); !strings.Contains(out, "table or json") {
			t.Errorf("%s", out)
		}
	}

	p := decode[[]admin.Pool](t, n.admin("pools", "-o", "json"))
	if len(p) != 1 || !p[0].Open || p[0].Path != n.pool || p[0].ReservedBytes != 1552*mib || p[0].TrashBytes != 16*mib || len(p[0].UUID) != 36 {
		t.Errorf("%+v", p)
	}
	v := decode[[]admin.Volume](t, n.admin("volumes", "-o", "json"))
	if len(v) != 1 || v[0].Handle != "a" || v[0].Bytes != 1536*mib || !v[0].Enforced || len(v[0].Targets) != 1 || v[0].Targets[0] != target || v[0].UsedBytes < 0 {
		t.Errorf("%+v", v)
	}
	if e := n.trash(); len(e) != 1 || e[0].ID != "b" || e[0].Bytes != 16*mib || e[0].Expiry.Sub(e[0].Deleted).Hours() != 1 {
		t.Errorf("%+v", e)
	}
	if out := n.admin("check", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("%s", out)
	}
}

func TestCheckWithoutADaemon(t *testing.T) {
	n := serve(t)
	n.volume("vol")
	n.stop()
	socket := "unix://" + filepath.Join(n.dir, "none.sock")
	line := []string{"check", "--pool", "default=" + n.pool, "--admin-endpoint", socket}
	if out, err := hostvol(line...); err != nil || !strings.Contains(out, "not running") {
		t.Errorf("%v %s", err, out)
	}
	unchanged(t, n.pool)
	run(t, "setfattr", "-x", "trusted.hostvol", filepath.Join(n.pool, "volumes/vol"))
	out, err := hostvol(append(line, "-o", "json")...)
	if err == nil {
		t.Errorf("the exit status is 0: %s", out)
	}
	json, _, _ := strings.Cut(out, "\nhostvol:")
	if faults := decode[[]admin.Fault](t, json); len(faults) != 1 || faults[0].Reason != "RecordUnreadable" || faults[0].Item != "volumes/vol" {
		t.Errorf("%+v", faults)
	}
	if out, err := hostvol("pools", "--admin-endpoint", socket); err == nil || !strings.Contains(out, "is the daemon running") {
		t.Errorf("%v %s", err, out)
	}
}

func TestCheckConfig(t *testing.T) {
	good := writeConfig(t, "pools:\n- name: fast\n  path: /srv/fast\n  limit: 500Gi\ntrash:\n  retention: 24h\n")
	out, err := hostvol("check-config", good)
	must(t, err)
	for _, line := range []string{"driver: hostvol.csi.io", "kubeletDir: /var/lib/kubelet", "limit: 500Gi", "retention: 24h", "overcommit: 1", "mode: single"} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	again, err := hostvol("check-config", writeConfig(t, out)) // what it prints is a configuration
	if err != nil || again != out {
		t.Errorf("%v\n%s\nbefore\n%s", err, again, out)
	}

	// Flags go over the file.
	out, err = hostvol("check-config", good, "--mode", "distributed", "--node-id", "n1", "--pool", "fast=/mnt/fast", "--pool", "more=/mnt/more")
	must(t, err)
	for _, line := range []string{"mode: distributed", "nodeID: n1", "path: /mnt/fast", "limit: 500Gi", "path: /mnt/more", "retention: 24h"} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if strings.Contains(out, "/srv/fast") {
		t.Errorf("%s", out)
	}
	out, err = hostvol("check-config", writeConfig(t, "pools: [{namme: x}]"))
	if err == nil || !strings.Contains(out, `"namme"`) || !strings.Contains(out, "docs/configuration.md") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := hostvol("check-config", "/nonexistent"); err == nil || !strings.Contains(out, "/nonexistent") {
		t.Errorf("%v %s", err, out)
	}
}

func TestServeRefusesAWrongConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		line []string
		why  string
	}{
		"no node":       {[]string{"serve"}, "--node-id"},
		"mode":          {[]string{"serve", "--node-id", "a", "--mode", "both"}, "distributed"},
		"pool":          {[]string{"serve", "--node-id", "a", "--pool", "x"}, "NAME=PATH"},
		"relative pool": {[]string{"serve", "--node-id", "a", "--pool", "x=y"}, "absolute"},
		"endpoint":      {[]string{"serve", "--node-id", "a", "--endpoint", "tcp://0.0.0.0:1"}, "unix"},
		"kubelet":       {[]string{"serve", "--node-id", "a", "--kubelet-dir", "/nonexistent"}, "kubeletDir"},
		"argument":      {[]string{"serve", "--node-id", "a", "x"}, "x"},
		"flag":          {[]string{"serve", "--nodeid", "a"}, "nodeid"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := hostvol(c.line...); err == nil || !strings.Contains(out, c.why) {
				t.Errorf("%v %s", err, out)
			}
		})
	}
	if out, err := hostvol("version"); err != nil || strings.TrimSpace(out) == "" {
		t.Errorf("%v %q", err, out)
	}
}
