package flex

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/flex/settings"
	"github.com/hostvol/hostvol/pkg/host/mount"
)

var calls, cases atomic.Int64

// node is a node of the kubelet's: its directory, its plugin directory, and a daemon if a test needs one.
type node struct {
	testing.TB
	dir, kubelet, plugins string
	settings              settings.Settings
	backing               //nolint:unused // not in the virtual machine
	// env is added to the environment of calls; path is put before PATH.
	env  []string
	path string
	// written are the settings by their file.
	written map[string]string
}

// newNode makes a node without a daemon.
func newNode(t testing.TB) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{
		TB: t, dir: dir, kubelet: filepath.Join(dir, "kubelet"), plugins: filepath.Join(dir, "exec"),
		written: map[string]string{},
	}
	for _, d := range []string{n.kubelet, n.plugins} {
		must(t, os.MkdirAll(d, 0o755))
	}
	n.settings = settings.Settings{KubeletDir: n.kubelet, Socket: filepath.Join(dir, "flex.sock"), Log: filepath.Join(dir, "flex.log")}
	return n
}

// clear unmounts what a test has left.
func (n *node) clear() {
	for _, e := range slices.Backward(n.mounts("")) {
		_ = exec.Command("umount", "-l", e.Point).Run()
	}
}

// driver installs a driver by hand, and returns the executable's path.
func (n *node) driver(name string) string {
	n.Helper()
	dir := filepath.Join(n.plugins, "hostvol~"+name)
	path := filepath.Join(dir, name)
	must(n, os.MkdirAll(dir, 0o755))
	data, err := json.Marshal(n.settings)
	must(n, err)
	if file := filepath.Join(dir, settings.File); string(data) != n.written[file] {
		must(n, os.WriteFile(file+".new", data, 0o600), os.Rename(file+".new", file))
		n.written[file] = string(data)
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	// Written by a program of its own: a process of another test that is just being started would have the file
	// open for writing, and the kernel would not execute it.
	must(n, exec.Command("cp", executable, path).Run())
	return path
}

// result is what came of a call.
type result struct {
	testing.TB
	call                  string
	status, message, text string
	reply                 map[string]any
	code                  int
}

// target is a pod's directory for a volume, as the kubelet makes it.
func (n *node) target(driver, pod, name string) string {
	n.Helper()
	path := filepath.Join(n.kubelet, "pods", pod, "volumes", "hostvol~"+driver, name)
	must(n, os.MkdirAll(path, 0o750))
	return path
}

// options are those of a manifest as the kubelet hands them over, with more or with other ones of its own.
func options(pairs ...string) string {
	all := map[string]string{
		"kubernetes.io/fsType": "", "kubernetes.io/readwrite": "rw", "kubernetes.io/pvOrVolumeName": "vol",
		"kubernetes.io/pod.name": "pod", "kubernetes.io/pod.namespace": "ns", "kubernetes.io/pod.uid": "u", "kubernetes.io/serviceAccount.name": "default",
	}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	data, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// command is a call that is not started yet.
func (n *node) command(driver string, args ...string) *exec.Cmd {
	n.Helper()
	cmd := exec.Command(n.driver(driver), args...)
	cmd.Env = append(os.Environ(), n.env...)
	if n.path != "" {
		cmd.Env = append(cmd.Env, "PATH="+n.path+":"+os.Getenv("PATH"))
	}
	return cmd
}

// call makes a call as the kubelet does: what is written to the two streams together must be one JSON object.
func (n *node) call(driver string, args ...string) result {
	n.Helper()
	cmd := n.command(driver, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	done := make(chan error, 1)
	must(n, cmd.Start())
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return n.result(cmd, out.Bytes(), err)
	case <-time.After(90 * time.Second):
		_ = cmd.Process.Kill()
		n.Fatalf("%v did not end", args)
		return result{}
	}
}

func (n *node) result(cmd *exec.Cmd, out []byte, err error) result {
	n.Helper()
	calls.Add(1)
	r := result{TB: n.TB, call: strings.Join(cmd.Args[1:], " "), text: string(out), code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.Fatalf("%s: %v", r.call, err)
	}
	in := json.NewDecoder(bytes.NewReader(out))
	if err := in.Decode(&r.reply); err != nil {
		n.Fatalf("%s: the reply %q is no JSON object: %v", r.call, out, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		n.Fatalf("%s: something follows the reply: %q", r.call, out)
	}
	r.status, _ = r.reply["status"].(string)
	r.message, _ = r.reply["message"].(string)
	return r
}

// succeeds checks that the call has done what was asked.
func (r result) succeeds() result {
	r.Helper()
	if r.status != "Success" || r.code != 0 {
		r.Fatalf("%s: exit %d, %s", r.call, r.code, r.text)
	}
	return r
}

// fails checks that the call has failed, with a message that has these parts.
func (r result) fails(parts ...string) result {
	r.Helper()
	if r.status != "Failure" {
		r.Fatalf("%s: exit %d, %s; it must fail", r.call, r.code, r.text)
	}
	for _, part := range parts {
		if !strings.Contains(r.message, part) {
			r.Errorf("%s: the message %q does not say %q", r.call, r.message, part)
		}
	}
	return r
}

// unsupported checks that the call is answered so.
func (r result) unsupported() {
	r.Helper()
	if r.status != "Not supported" || r.code != 0 || len(r.reply) != 1 {
		r.Errorf("%s: exit %d, %s", r.call, r.code, r.text)
	}
}

// mounts lists what is mounted at a path; all below the kubelet's directory for "".
func (n *node) mounts(path string) (at []mount.Entry) {
	n.Helper()
	table, err := mount.Table()
	must(n, err)
	for _, e := range table {
		if e.Point == path || path == "" && mount.Below(e.Point, n.kubelet) {
			at = append(at, e)
		}
	}
	return at
}

// layers checks how many mounts lie on a path.
func (n *node) layers(path string, want int) {
	n.Helper()
	if at := n.mounts(path); len(at) != want {
		n.Errorf("%d mounts lie on %s, not %d: %v", len(at), path, want, at)
	}
}

func (n *node) write(path, text string) {
	n.Helper()
	must(n, os.WriteFile(path, []byte(text), 0o644))
}

func (n *node) read(path string) string {
	n.Helper()
	data, err := os.ReadFile(path)
	must(n, err)
	return string(data)
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// until waits for something that happens soon. What takes longer to ask than to wait for is asked three times.
func (n *node) until(what string, is func() bool) {
	n.Helper()
	for end, tries := time.Now().Add(15*time.Second), 1; !is(); tries++ {
		time.Sleep(5 * time.Millisecond)
		if tries >= 3 && time.Now().After(end) {
			n.Fatalf("waited too long: %s", what)
		}
	}
}

// run runs one case.
func run(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		cases.Add(1)
		f(t)
	})
}
