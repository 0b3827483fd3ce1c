//go:build vm

package flex

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/test/daemon"
)

var executable string // set once, by TestMain

// TestMain runs in the virtual machine only: it makes servers and a volume group of a disk.
func TestMain(m *testing.M) {
	code := 1
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "flex:", err)
	} else {
		code = m.Run()
		fmt.Printf("flex: %d calls were made, in %d cases\n", calls.Load(), cases.Load())
	}
	os.Exit(code)
}

func prepare() (err error) {
	if host, err := os.Hostname(); err != nil || host != "vm" {
		return fmt.Errorf("this is for the virtual machine: make test-vm (host %q, %w)", host, err)
	}
	if executable, err = daemon.FlexBinary(context.Background()); err != nil {
		return err
	}
	for _, line := range []string{
		"modprobe -a nfsd nfs nfsv3 nfsv4 cifs dm_mod veth",
		// The servers are in a network of their own, which can be taken away.
		"ip netns add servers",
		"ip link add clients type veth peer name eth0 netns servers",
		"ip addr add 10.77.0.1/24 dev clients",
		"ip link set clients up",
		"ip netns exec servers ip addr add 10.77.0.2/24 dev eth0",
		"ip netns exec servers ip link set eth0 up",
		"ip netns exec servers ip link set lo up",
		// What a node with nfs-common runs.
		"mkdir -p /run/rpcbind /run/sendsigs.omit.d /var/lib/nfs/rpc_pipefs",
		"mount -t rpc_pipefs sunrpc /var/lib/nfs/rpc_pipefs",
		"rpcbind -w",
	} {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	return nil
}

// backing is nothing here: the driver local is tested without a virtual machine.
type backing struct{} //nolint:unused // as the other one's

const server = "10.77.0.2"

// serve runs a script in the servers' network.
func serve(t testing.TB, script string) {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", "servers", "sh", "-exc", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// cable plugs the servers in or out: without it no packet comes back, as from a machine that has lost its power.
func cable(t testing.TB, state string) {
	t.Helper()
	sh(t, "ip link set clients "+state)
}

// sh runs a script and returns what it prints.
func sh(t testing.TB, script string) string {
	t.Helper()
	out, err := exec.Command("bash", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}
