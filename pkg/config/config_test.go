package config

import (
	"strings"
	"testing"
	"time"
)

func complete(t *testing.T, text string) (Config, error) {
	t.Helper()
	c, err := Parse([]byte(text))
	if err != nil {
		return c, err
	}
	if c.NodeID == "" {
		c.NodeID = "node-a"
	}
	c.Complete()
	return c, c.Check()
}

func TestNoFileIsNeeded(t *testing.T) {
	c, err := complete(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Pools) != 1 || c.Pools[0].Name != "default" || c.Pools[0].Path != "/var/lib/hostvol" || !c.Pools[0].Create || c.Pools[0].Overcommit != 1 {
		t.Errorf("%+v", c.Pools)
	}
	if c.Mode != Single || c.Endpoint != "unix:///var/lib/kubelet/plugins/hostvol.csi.io/csi.sock" || c.AdminEndpoint != "unix:///run/hostvol/admin.sock" ||
		c.Trash.Retention.Duration != 0 || c.Health.Interval.Duration != 5*time.Minute || c.MetricsAddress != "" {
		t.Errorf("%+v", c)
	}
}

func TestAFullFile(t *testing.T) {
	c, err := complete(t, `
driver: local.example.com
nodeID: n1
mode: distributed
kubeletDir: /data/kubelet
metricsAddress: 0.0.0.0:9090
registrationPath: /data/kubelet/plugins_registry
maxVolumesPerNode: 100
staticRoots: [/srv/static]
defaultPool: slow
pools:
- name: fast
  path: /mnt/fast
  limit: 1.5Ti
  overcommit: 2
  reserve: 10Gi
  requireMount: true
  uuid: 0f8fad5b-d9cb-469f-a165-70867728950e
  enableQuota: true
- {name: slow, path: /mnt/slow, create: true}
trash: {retention: 24h, purgeRate: 100}
health: {interval: 90s, deepInterval: 12h}
`)
	if err != nil {
		t.Fatal(err)
	}
	fast := c.Pools[0]
	if fast.Limit.Value() != 3<<39 || fast.Reserve.Value() != 10<<30 || fast.Overcommit != 2 || !fast.RequireMount || fast.Create || !fast.EnableQuota {
		t.Errorf("%+v", fast)
	}
	if c.Endpoint != "unix:///data/kubelet/plugins/local.example.com/csi.sock" || c.Trash.Retention.Duration != 24*time.Hour ||
		c.Trash.PurgeRate != 100 || c.Health.Interval.Duration != 90*time.Second || c.MaxVolumesPerNode != 100 {
		t.Errorf("%+v", c)
	}
}

// What is wrong is named, with the value, and what would be right.
func TestMistakes(t *testing.T) {
	pool := func(more string) string { return "pools: [{name: a, path: /a, " + more + "}]" }
	for _, c := range []struct {
		name, text string
		words      []string
	}{
		{"unknown field", "kubeletdirectory: /x", []string{`"kubeletdirectory"`, "docs/configuration.md"}},
		{"unknown in a pool", pool("size: 1Gi"), []string{`"size"`}},
		{"twice", "mode: single\nmode: distributed", []string{"mode", "already"}},
		{"no YAML", "mode: [", []string{"yaml"}},
		{"a list", "- mode", []string{"configuration"}},
		{"mode", "mode: both", []string{`"both"`, "single", "distributed"}},
		{"driver", "driver: a_b", []string{`"a_b"`}},
		{"long driver", "driver: " + strings.Repeat("a", 64), []string{"63"}},
		{"long node", "nodeID: " + strings.Repeat("a", 254), []string{"253"}},
		{"endpoint", "endpoint: tcp://x:1", []string{"tcp://x:1", "unix:///"}},
		{"relative endpoint", "endpoint: unix://x.sock", []string{"unix:///"}},
		{"long endpoint", "endpoint: unix:///" + strings.Repeat("a", 110), []string{"longer"}},
		{"admin", "adminEndpoint: /x", []string{"adminEndpoint"}},
		{"metrics", "metricsAddress: '9090'", []string{"HOST:PORT"}},
		{"kubelet", "kubeletDir: kubelet", []string{"kubeletDir", "absolute"}},
		{"unclean", "kubeletDir: /a/../b", []string{"clean"}},
		{"static", "staticRoots: [/a, b]", []string{"staticRoots", `"b"`}},
		{"all is static", "staticRoots: [/]", []string{"whole node"}},
		{"no number", "maxVolumesPerNode: many", []string{"maxVolumesPerNode", "int"}},
		{"max", "maxVolumesPerNode: -1", []string{"maxVolumesPerNode"}},
		{"retention", "trash: {retention: -1h}", []string{"negative"}},
		{"a day", "trash: {retention: 1d}", []string{"24h"}},
		{"a number", "trash: {retention: 60}", []string{"60", "24h"}},
		{"default pool", "defaultPool: b\n" + pool("create: true"), []string{`"b"`}},
		{"pool name", "pools: [{name: A_b, path: /a}]", []string{"A_b", "lower-case"}},
		{"no name", "pools: [{path: /a}]", []string{"pools[0]", "name"}},
		{"no path", "pools: [{name: a}]", []string{"pools[0]", "path"}},
		{"root", "pools: [{name: a, path: /}]", []string{"/ cannot"}},
		{"twin names", "pools: [{name: a, path: /a}, {name: a, path: /b}]", []string{"pools[1]", "twice"}},
		{"twin paths", "pools: [{name: a, path: /a}, {name: b, path: /a}]", []string{"/a"}},
		{"a pool in a pool", "pools: [{name: a, path: /a}, {name: b, path: /a/b}]", []string{"pools[1]", "pool a"}},
		{"limit", pool("limit: 0"), []string{"limit", "positive"}},
		{"no size", pool("limit: lots"), []string{"lots", "500Gi"}},
		{"reserve", pool("reserve: -1Gi"), []string{"reserve", "negative"}},
		{"overcommit", pool("overcommit: 0.5"), []string{"overcommit", "less than 1"}},
		{"uuid", pool("uuid: abc"), []string{`"abc"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := complete(t, c.text)
			if err == nil {
				t.Fatal("no error")
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is not in: %v", word, err)
				}
			}
			if strings.Contains(err.Error(), "json:") || strings.Contains(err.Error(), "Go struct") {
				t.Errorf("not the words of somebody who writes YAML: %v", err)
			}
		})
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := complete(t, "mode: both\ndriver: a_b\npools: [{name: A, path: x, overcommit: 0.5}]")
	for _, word := range []string{"mode", "driver", "name", "path", "overcommit"} {
		if err == nil || !strings.Contains(err.Error(), word+":") {
			t.Errorf("%s is not told: %v", word, err)
		}
	}
}

func TestRead(t *testing.T) {
	if _, err := Read(t.TempDir() + "/none.yaml"); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("%v", err)
	}
}

func TestSocket(t *testing.T) {
	for endpoint, want := range map[string]string{
		"unix:///run/x.sock": "/run/x.sock", "unix:/run/x.sock": "", "/run/x.sock": "", "unix://": "", "unix:///a//b": "", "": "",
	} {
		if got, err := Socket(endpoint); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", endpoint, got, err)
		}
	}
}
