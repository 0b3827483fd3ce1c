package integration

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// metrics has the next start serve metrics, and gives a function that reads them.
func (n *node) metrics() func() string {
	n.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(n.t, err)
	address := l.Addr().String()
	must(n.t, l.Close())
	n.args = append(n.args, "--metrics-address", address)
	return func() string { return n.http("http://" + address + "/metrics") }
}

func (n *node) http(url string) string {
	n.t.Helper()
	answer, err := http.Get(url)
	must(n.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(n.t, err)
	if answer.StatusCode != http.StatusOK {
		n.t.Errorf("%s: %s", url, answer.Status)
	}
	return string(body)
}

func TestMetrics(t *testing.T) {
	n := newNode(t)
	metrics := n.metrics()
	n.start("--config", writeConfig(t, "pools: [{name: default, path: "+n.pool+", create: true, limit: 100Mi}]\ntrash: {retention: 1h}"))
	n.volume("a")
	n.volume("b")
	must(t, n.remove("b"))
	_, _ = n.get("nobody")
	text := metrics()
	for _, line := range []string{
		`hostvol_build_info{version="`,
		`hostvol_pool_open{pool="default"} 1`,
		`hostvol_pool_writable{pool="default"} 1`,
		`hostvol_pool_enforced{method="",pool="default"} 0`,
		`hostvol_pool_limit_bytes{pool="default"} 1.048576e+08`,
		`hostvol_pool_reserved_bytes{pool="default"} 3.3554432e+07`,
		`hostvol_pool_trash_bytes{pool="default"} 1.6777216e+07`,
		`hostvol_pool_trash_entries{pool="default"} 1`,
		`hostvol_pool_volumes{pool="default"} 1`,
		`hostvol_pool_quarantined_items{pool="default"} 0`,
		`hostvol_pool_purge_backlog_seconds{pool="default"} 0`,
		`hostvol_rpc_duration_seconds_count{code="OK",method="CreateVolume"} 2`,
		`hostvol_rpc_duration_seconds_count{code="NotFound",method="ControllerGetVolume"} 1`,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	url := "http://" + n.args[3] + "/healthz"
	if got := n.http(url); got != "ok\n" {
		t.Errorf("healthz: %q", got)
	}
}
