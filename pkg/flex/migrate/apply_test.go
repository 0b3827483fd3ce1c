package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The test binary is also the stand-in for kubectl, and the program that is killed.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "kubectl":
		os.Exit(standInMain())
	case "migrate":
		r := request(os.Args[1])
		r.Apply = true
		if err := Run(context.Background(), r, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	var err error
	if programsDir, err = os.MkdirTemp("", "migrate"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(programsDir)
	os.Exit(status)
}

func request(dir string) Request {
	return Request{
		Options:     Options{Driver: "hostvol.csi.io", Distributed: true, SizeOf: map[string]string{"pictures": "5Gi"}},
		FromCluster: true, Kubectl: Kubectl{Argv: []string{filepath.Join(dir, "kubectl")}},
		Dir: filepath.Join(dir, "out"), Poll: time.Millisecond,
	}
}

// world is a stand-in with the objects of testdata/cluster.yaml.
func world(t *testing.T) (string, standIn) {
	t.Helper()
	dir := t.TempDir()
	s := standIn{dir}
	must(t, os.Mkdir(filepath.Join(dir, "objects"), 0o700))
	self := programs(t)
	for _, name := range []string{"kubectl", "migrate"} {
		must(t, os.Symlink(self, filepath.Join(dir, name)))
	}
	for _, o := range load(t, "cluster.yaml") {
		s.write(o)
	}
	return dir, s
}

var programsDir string

// programs is this test binary without the race detector, with which a program
// that starts a hundred others takes ten times as long.
func programs(t *testing.T) string {
	t.Helper()
	path, err := buildPrograms()
	must(t, err)
	return path
}

var buildPrograms = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programsDir, "programs")
	cmd := exec.Command("go", "test", "-c", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func load(t *testing.T, name string) []Object {
	t.Helper()
	all, err := readFile(filepath.Join("testdata", name), nil)
	must(t, err)
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool runs the program, which is killed when the stand-in has answered so many
// calls; 0 for never.
func tool(t *testing.T, dir string, killAt int) (string, error) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, "calls"), []byte("0"), 0o600))
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "migrate"), dir)
	cmd.Env = append(os.Environ(), standInDir+"="+dir, fmt.Sprintf("%s=%d", standInKill, killAt))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// migrated checks that all of the world is where it should be, and nothing lost.
func migrated(t *testing.T, dir string, s standIn) {
	t.Helper()
	if data, err := os.ReadFile(filepath.Join(dir, "DATA-LOST")); err == nil {
		t.Errorf("data are lost: %s", data)
	}
	if s.read(kindVolume, "", "data-db-0") != nil {
		t.Error("the old volume is there")
	}
	pv, c := s.read(kindVolume, "", "data-db-0-csi"), s.read(kindClaim, "shop", "data-db-0")
	for what, got := range map[string]string{
		"hostvol.csi.io db@676b8bb8": handleOf(pv),
		"data-db-0-csi":              c.text("spec", "volumeName"),
		"Bound":                      c.text("status", "phase"),
		"manual":                     c.text("spec", "storageClassName"),
		"1Gi":                        c.text("spec", "resources", "requests", "storage"),
		"me":                         c.annotation("example.com/owner"),
		"shop":                       pv.text("metadata", "labels", "team"),
		"Retain":                     pv.text("spec", "persistentVolumeReclaimPolicy"),
		c.uid():                      pv.text("spec", "claimRef", "uid"),
		"kept: \"as\" it is\n":       pv.annotation("example.com/note"),
	} {
		if got != what {
			t.Errorf("%q instead of %q", got, what)
		}
	}
	if c.uid() == "old-claim" || pv.annotation("pv.kubernetes.io/bound-by-controller") != "" {
		t.Error("something of the old objects is left")
	}
	for file, want := range map[string]string{"pv-data-db-0-old-pv.yaml": "flexVolume", "pvc-data-db-0-old-claim.yaml": "storage: 2Gi"} {
		data, err := os.ReadFile(filepath.Join(dir, "out/saved", file))
		if err != nil || !strings.Contains(string(data), want) || strings.HasPrefix(file, "pv-") && !strings.Contains(string(data), "Policy: Delete") {
			t.Errorf("%s: %v: %s", file, err, data)
		}
	}
	web := podVolumes(s.read("Deployment", "shop", "web"))
	claim := web[1].text("persistentVolumeClaim", "claimName")
	if web[1].sub("flexVolume") != nil || !web[1].truth("persistentVolumeClaim", "readOnly") || web[0].sub("emptyDir") == nil ||
		s.read(kindClaim, "shop", claim).text("status", "phase") != "Bound" {
		t.Errorf("the Deployment has the volumes %v", web)
	}
	volumes := 0
	for _, o := range s.all() {
		if o.kind() == kindVolume {
			volumes++
		}
	}
	if volumes != 3 {
		t.Errorf("there are %d volumes", volumes)
	}
	if podVolumes(s.read(kindPod, "shop", "tool"))[0].sub("flexVolume") == nil {
		t.Error("the running pod was touched")
	}
}

// Killed after any call, the program finds its work again.
func TestApplyKilledAfterEachCall(t *testing.T) {
	dir, s := world(t)
	out, err := tool(t, dir, 0)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	migrated(t, dir, s)
	data, err := os.ReadFile(filepath.Join(dir, "calls"))
	must(t, err)
	calls, err := strconv.Atoi(string(data))
	must(t, err)
	t.Logf("it makes %d calls:\n%s", calls, out)
	for at := 1; at <= calls; at++ {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			t.Parallel()
			dir, s := world(t)
			out, err := tool(t, dir, at)
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Exited() {
				t.Fatalf("it was not killed: %v\n%s", err, out)
			}
			if out, err := tool(t, dir, 0); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			migrated(t, dir, s)
		})
	}
	before := snapshot(s)
	if out, err := tool(t, dir, 0); err != nil || snapshot(s) != before {
		t.Errorf("a repeat: %v\n%s", err, out)
	}
}

func snapshot(s standIn) string { return fmt.Sprint(s.all()) }

// Whatever is not as it should be stops the program before it changes anything.
func TestApplyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, s standIn)
		want   string
	}{
		"a running pod": {func(_ *testing.T, s standIn) {
			s.write(Object{
				"kind": kindPod, "apiVersion": "v1", "metadata": map[string]any{"name": "db-0", "namespace": "shop"},
				"spec": map[string]any{"volumes": []any{map[string]any{"name": "data", "persistentVolumeClaim": map[string]any{"claimName": "data-db-0"}}}},
			})
		}, "in use by Pod shop/db-0"},
		"no driver": {func(t *testing.T, s standIn) {
			must(t, os.Remove(s.path("CSIDriver", "", "hostvol.csi.io")))
		}, "no CSIDriver hostvol.csi.io"},
		"no driver on the node": {func(_ *testing.T, s standIn) {
			s.write(Object{"kind": "CSINode", "metadata": map[string]any{"name": "n1"}})
		}, "not registered on node n1"},
		"a volume of the new name": {func(_ *testing.T, s standIn) {
			s.write(Object{"kind": kindVolume, "metadata": map[string]any{"name": "data-db-0-csi"}, "spec": map[string]any{}})
		}, "that was not made from PersistentVolume data-db-0"},
		"the old volume goes": {func(_ *testing.T, s standIn) {
			pv := s.read(kindVolume, "", "data-db-0")
			pv.set("now", "metadata", "deletionTimestamp")
			s.write(pv)
		}, "is being deleted already"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, s := world(t)
			c.change(t, s)
			before := snapshot(s)
			out, err := tool(t, dir, 0)
			if err == nil || !strings.Contains(out, c.want) || !strings.Contains(out, "nothing was changed") {
				t.Errorf("%v\n%s", err, out)
			}
			if snapshot(s) != before {
				t.Error("something was changed")
			}
		})
	}
}

// withoutClaim is a world in which the program was killed when the old claim was
// gone, and before it made the new one.
func withoutClaim(t *testing.T) (string, standIn) {
	t.Helper()
	dir, s := world(t)
	for at := 2; ; at++ {
		if _, err := tool(t, dir, at); err == nil {
			t.Fatal("it ended")
		}
		s.control()
		if s.read(kindClaim, "shop", "data-db-0") == nil {
			return dir, s
		}
	}
}

// Without a claim the old volume is Released, and somebody deletes it. The new one
// tells what is left to do, until it has had its claim.
func TestApplyAfterTheOldVolumeIsGone(t *testing.T) {
	dir, s := withoutClaim(t)
	must(t, os.Remove(s.path(kindVolume, "", "data-db-0")))
	r := request(dir)
	for _, restriction := range []Options{{Namespaces: []string{"other"}}, {Volumes: []string{"other"}}} {
		if p := New(restriction, s.all()); len(p.Items) != 0 {
			t.Errorf("%v: %v", restriction, p.Items)
		}
	}
	r.Volumes = []string{"data-db-0"}
	var text bytes.Buffer
	must(t, New(r.Options, s.all()).Print(&text, "kubectl"))
	if !strings.Contains(text.String(), "create -f 02-pvc-shop-data-db-0.yaml") || strings.Contains(text.String(), "create -f 01-pv-") {
		t.Errorf("the plan: %s", &text)
	}
	if out, err := tool(t, dir, 0); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	migrated(t, dir, s)

	must(t, os.Remove(s.path(kindClaim, "shop", "data-db-0")))
	if out, err := tool(t, dir, 0); err != nil || s.read(kindClaim, "shop", "data-db-0") != nil {
		t.Errorf("a claim that somebody has deleted: %v\n%s", err, out)
	}
}

// A note that is not of the volume's claim makes nothing.
func TestApplyRefusesAForeignNote(t *testing.T) {
	dir, s := withoutClaim(t)
	must(t, os.Remove(s.path(kindVolume, "", "data-db-0")))
	pv := s.read(kindVolume, "", "data-db-0-csi")
	for _, note := range []string{"", "{}", "{", `{"kind":"PersistentVolumeClaim","metadata":{"namespace":"other","name":"data-db-0"}}`, `{"kind":"Pod","metadata":{"namespace":"shop","name":"data-db-0"}}`} {
		pv.set(note, "metadata", "annotations", claimAnnotation)
		s.write(pv)
		p := New(request(dir).Options, s.all())
		if len(p.Refused) != 1 || !strings.Contains(p.Refused[0].Why, "the annotation "+claimAnnotation) {
			t.Errorf("%q: %v", note, p.Refused)
		}
	}
}

// Between two steps somebody makes a claim of the same name.
func TestApplyStopsAtAForeignClaim(t *testing.T) {
	dir, s := withoutClaim(t)
	must(t, s.create(Object{
		"kind": kindClaim, "metadata": map[string]any{"name": "data-db-0", "namespace": "shop"},
		"spec": map[string]any{"accessModes": []any{"ReadWriteOnce"}, "volumeName": "other", "resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}}},
	}))
	out, err := tool(t, dir, 0)
	if err == nil || !strings.Contains(out, "bound to another volume, other") {
		t.Errorf("%v\n%s", err, out)
	}
	if s.read(kindVolume, "", "data-db-0") == nil {
		t.Error("the old volume is gone")
	}
}

func TestApplyNeedsADirectoryAndTheCluster(t *testing.T) {
	for _, r := range []Request{{}, {Apply: true, Files: []string{"x"}}, {Apply: true, FromCluster: true}} {
		if err := Run(t.Context(), r, nil, &bytes.Buffer{}); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
	r := request(t.TempDir())
	if err := Run(t.Context(), r, nil, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "install it") {
		t.Errorf("without kubectl: %v", err)
	}
}
