package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registered starts a daemon that registers itself, and gives the kubelet's end: the client that its plugin
// watcher makes of a new socket.
func registered(t *testing.T) (*node, registration.RegistrationClient, string) {
	t.Helper()
	n := newNode(t)
	registry := filepath.Join(n.dir, "kubelet/plugins_registry")
	must(t, os.MkdirAll(registry, 0o755))
	n.start("--pool", "default="+n.pool, "--registration-path", registry)
	// The CSI socket answers a moment before this one is there.
	eventually(t, waitPurge, func() string {
		sockets, err := os.ReadDir(registry)
		if err != nil || len(sockets) != 1 || sockets[0].Name() != "hostvol.csi.io-reg.sock" {
			return fmt.Sprintf("%v %v", sockets, err)
		}
		return ""
	})
	path := filepath.Join(registry, "hostvol.csi.io-reg.sock")
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return n, registration.NewRegistrationClient(conn), path
}

func TestRegistrationWithTheKubelet(t *testing.T) {
	n, kubelet, path := registered(t)
	for range 2 {
		info, err := kubelet.GetInfo(n.ctx(), &registration.InfoRequest{})
		must(t, err)
		if info.GetType() != registration.CSIPlugin || info.GetName() != "hostvol.csi.io" || info.GetEndpoint() != filepath.Join(n.dir, "csi.sock") ||
			differ(info.GetSupportedVersions(), "[1.0.0]") != "" {
			t.Errorf("%v", info)
		}
		_, err = kubelet.NotifyRegistrationStatus(n.ctx(), &registration.RegistrationStatus{PluginRegistered: true})
		must(t, err)
	}
	n.volume("vol")
	n.stop()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// A daemon that the kubelet does not want is of no use; it ends, and whoever starts it again makes it try again.
func TestTheKubeletRefuses(t *testing.T) {
	n, kubelet, _ := registered(t)
	_, err := kubelet.NotifyRegistrationStatus(n.ctx(), &registration.RegistrationStatus{Error: "no such driver wanted"})
	must(t, err)
	d := n.daemon
	n.daemon = nil
	exit := (*exec.ExitError)(nil)
	if err := d.Ended(waitPurge); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
		must(t, d.Stop())
	}
	if !strings.Contains(d.Log(), "no such driver wanted") {
		t.Errorf("it does not say why: %s", d.Log())
	}
}
