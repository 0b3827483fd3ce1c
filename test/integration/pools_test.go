package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/pkg/admin"
)

// A directory becomes a pool when that was asked for and it is empty, and never otherwise.
func TestWhatIsNoPool(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(dir string) error
		config string
		why    string
	}{
		{"not asked for", makeDir, "", "create: true"},
		{"missing, not asked for", nothing, "", "no such file"},
		{"missing with its parent", func(dir string) error { return os.Remove(filepath.Dir(dir)) }, ", create: true", "no such file"},
		{"not empty", func(dir string) error { return os.MkdirAll(dir+"/something", 0o755) }, ", create: true", "not empty"},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, ", create: true", "not a directory"},
		{"pinned", makeDir, ", create: true, uuid: 11111111-2222-4333-8444-555555555555", "pins the UUID"},
		{"only its content left", func(dir string) error { return os.MkdirAll(dir+"/volumes/vol", 0o755) }, ", create: true", "is not empty"},
		{"a broken pool.json", func(dir string) error {
			return os.WriteFile(mkdir(dir)+"/pool.json", []byte("{"), 0o600)
		}, ", create: true", "pool.json"},
		{"of the future", func(dir string) error {
			return os.WriteFile(mkdir(dir)+"/pool.json", []byte(`{"uuid":"x","format":2,"name":"default"}`), 0o600)
		}, ", create: true", "format 2"},
		{"of another name", func(dir string) error {
			return os.WriteFile(mkdir(dir)+"/pool.json", []byte(`{"uuid":"x","format":1,"name":"other"}`), 0o600)
		}, ", create: true", `"other"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			n.faulty = true
			n.pool = filepath.Join(n.dir, "parent", "pool")
			must(t, os.Mkdir(filepath.Dir(n.pool), 0o755))
			must(t, c.make(n.pool))
			before := fingerprint(t, n.dir)
			n.start("--config", writeConfig(t, "pools: [{name: default, path: "+n.pool+c.config+"}]"))
			_, err := n.create("vol")
			want(t, err, codes.Unavailable, c.why)
			want(t, n.remove("vol"), codes.Unavailable)
			if !strings.Contains(n.storage()["PoolMissing"], c.why) {
				t.Errorf("storage health: %v", n.storage())
			}
			n.stop()
			after := fingerprint(t, n.dir)
			locked := strings.Contains(before, "/pool.json ") // it is somebody's pool
			for line := range strings.Lines(after) {
				if locked && strings.Contains(line, "/lock ") {
					continue
				}
				if strings.Contains(line, n.pool) && !strings.Contains(before, line) {
					t.Errorf("made in what is no pool: %s", line)
				}
			}
		})
	}
}

func makeDir(dir string) error { return os.Mkdir(dir, 0o755) }
func nothing(string) error     { return nil }
func mkdir(dir string) string  { _ = os.Mkdir(dir, 0o755); return dir }

func TestPinnedUUID(t *testing.T) {
	n := serve(t)
	n.volume("vol")
	uuid := n.poolState("default").UUID
	n.stop()
	base := n.args[:2]
	pinned := func(uuid string) string {
		return writeConfig(t, "pools: [{name: default, path: "+n.pool+", uuid: "+uuid+"}]")
	}
	n.args = base
	n.start("--config", pinned("11111111-2222-4333-8444-555555555555"))
	want(t, n.remove("vol"), codes.Unavailable, uuid, "pins")
	n.faulty = true
	n.stop()
	n.args, n.faulty = base, false
	n.start("--config", pinned(uuid))
	must(t, n.remove("vol"))
}

// Two daemons never serve one pool.
func TestASecondDaemonOnThePool(t *testing.T) {
	t.Parallel()
	first := serve(t)
	first.volume("vol")
	second := newNode(t)
	second.faulty = true
	second.start("--pool", "default="+first.pool)
	_, err := second.create("vol")
	want(t, err, codes.Unavailable, "another hostvol daemon")
	want(t, second.remove("vol"), codes.Unavailable)
	if got := second.storage()["PoolMissing"]; !strings.Contains(got, "another hostvol daemon") {
		t.Errorf("%v", second.storage())
	}
	must(t, first.expand("vol", 32*mib))
	first.stop()
	eventually(t, waitRetry, func() string {
		_, err := second.get("vol")
		if err != nil {
			return err.Error()
		}
		return ""
	})
	must(t, second.remove("vol"))
}

// A second daemon does not take the first one's sockets away, either.
func TestASecondDaemonOnTheSockets(t *testing.T) {
	n := serve(t)
	first := n.daemon
	line := first.CommandLine()
	for i, arg := range line {
		line[i] = strings.ReplaceAll(arg, n.pool, n.pool+"-other")
	}
	out, err := command(line...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another process listens") {
		t.Errorf("%v: %s", err, out)
	}
	n.volume("vol")
	n.poolState("default")
}

// An id in two pools means nobody knows what. Neither is served, neither is touched.
func TestTwins(t *testing.T) {
	n := newNode(t)
	a, b := filepath.Join(n.dir, "a"), filepath.Join(n.dir, "b")
	n.start("--pool", "a="+a, "--pool", "b="+b)
	n.volume("twin", with("pool", "a"))
	n.volume("single", with("pool", "b"))
	n.stop()
	run(t, "cp", "-a", filepath.Join(a, "volumes/twin"), filepath.Join(b, "volumes/twin"))
	must(t, os.WriteFile(filepath.Join(b, "volumes/twin/data/file"), []byte("x"), 0o600))
	unchanged(t, filepath.Join(a, "volumes/twin"))
	unchanged(t, filepath.Join(b, "volumes/twin"))
	n.start()
	for _, pool := range []string{"a", "b"} {
		if p := n.poolState(pool); p.Quarantined != 1 {
			t.Errorf("%+v", p)
		}
		_, err := n.create("twin", with("pool", pool))
		want(t, err, codes.FailedPrecondition, "pools", "a", "b")
	}
	want(t, n.remove("twin"), codes.FailedPrecondition, "quarantined")
	want(t, n.publish("twin", n.target("pod")), codes.FailedPrecondition)
	if got := n.storage()["RecordUnreadable"]; !strings.Contains(got, "twin") {
		t.Errorf("storage health: %v", n.storage())
	}
	if why := differ(n.reasons("twin"), "[RecordUnreadable]"); why != "" {
		t.Error(why)
	}
	if why := differ(n.all(), "[single]"); why != "" {
		t.Error(why)
	}
	must(t, n.remove("single"))
	n.faulty = true
	if out := n.refused("check"); !strings.Contains(out, "twin") || strings.Contains(out, "ReservationsDoNotAddUp") {
		t.Errorf("check: %s", out)
	}
}

// What cannot be read is set aside, told, and never removed.
func TestUnreadableRecords(t *testing.T) {
	n := newNode(t)
	metrics := n.metrics()
	n.start("--pool", "default="+n.pool)
	n.faulty = true
	n.volume("good")
	broken := map[string]func(path string){
		"garbage":   func(path string) { run(t, "setfattr", "-n", "trusted.hostvol", "-v", "garbage", path) },
		"none":      func(path string) { run(t, "setfattr", "-x", "trusted.hostvol", path) },
		"of-others": func(path string) { setRecord(t, path, func(r map[string]any) { r["id"] = "good" }) },
		"future":    func(path string) { setRecord(t, path, func(r map[string]any) { r["v"] = 2 }) },
		"engine":    func(path string) { setRecord(t, path, func(r map[string]any) { r["engine"] = "lvm" }) },
		"no-size":   func(path string) { setRecord(t, path, func(r map[string]any) { r["bytes"] = 0 }) },
	}
	for id := range broken {
		n.volume(id)
	}
	n.stop()
	for id, spoil := range broken {
		must(t, os.WriteFile(filepath.Join(n.pool, "volumes", id, "data/file"), []byte("dear"), 0o600))
		spoil(filepath.Join(n.pool, "volumes", id))
	}
	must(t, os.Mkdir(filepath.Join(n.pool, "volumes/Not-An-Id"), 0o755))
	must(t, os.WriteFile(filepath.Join(n.pool, "volumes/file"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(n.pool, "trash/what"), 0o755))
	must(t, os.Mkdir(filepath.Join(n.pool, "trash/no-record@1700000000000000000"), 0o755))
	items := len(broken) + 4
	unchanged(t, filepath.Join(n.pool, "volumes"))
	unchanged(t, filepath.Join(n.pool, "trash"))
	n.start()

	if p := n.poolState("default"); p.Quarantined != items || p.Volumes != 1 {
		t.Errorf("%+v, want %d quarantined", p, items)
	}
	if got := metrics(); !strings.Contains(got, `hostvol_pool_quarantined_items{pool="default"} 10`) ||
		!strings.Contains(got, `hostvol_pool_findings{pool="default",reason="RecordUnreadable"} 1`) {
		t.Errorf("metrics: %s", got)
	}
	if n.storage()["RecordUnreadable"] == "" {
		t.Errorf("storage health: %v", n.storage())
	}
	listed := map[string]bool{}
	answer, err := n.controller.ControllerListVolumeHealth(n.ctx(), &csi.ControllerListVolumeHealthRequest{})
	must(t, err)
	for _, h := range answer.GetEntries() {
		listed[h.GetVolumeId()] = true
		if why := differ(reasonsOf(h), "[RecordUnreadable]"); why != "" {
			t.Errorf("%s: %s", h.GetVolumeId(), why)
		}
	}
	for id := range broken {
		if !listed[id] {
			t.Errorf("%s is not among the volumes with findings: %v", id, listed)
		}
		if why := differ(n.reasons(id), "[RecordUnreadable]"); why != "" {
			t.Errorf("%s: %s", id, why)
		}
		want(t, n.remove(id), codes.FailedPrecondition, "quarantined")
		_, err := n.create(id)
		want(t, err, codes.FailedPrecondition, "quarantined")
		want(t, n.publish(id, n.target("pod")), codes.FailedPrecondition)
	}
	n.admin("trash", "purge", "--all")
	out := n.refused("check")
	for _, item := range []string{"garbage", "future", "Not-An-Id", "trash/what"} {
		if !strings.Contains(out, item) {
			t.Errorf("check does not tell of %s: %s", item, out)
		}
	}
}

// poolOf is the pool in which a volume lies.
func (n *node) poolOf(handle string) string {
	n.t.Helper()
	for _, v := range decode[[]admin.Volume](n.t, n.admin("volumes", "-o", "json")) {
		if v.Handle == handle {
			return v.Pool
		}
	}
	return ""
}

// exhausted is the code with which a volume is refused.
func exhausted(n *node, size int64) string {
	_, err := n.create("refused", bytes(size))
	return status.Code(err).String()
}

// setRecord changes the record of an item.
func setRecord(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	record := decode[map[string]any](t, run(t, "getfattr", "--absolute-names", "--only-values", "-n", "trusted.hostvol", path))
	change(record)
	text, err := json.Marshal(record)
	must(t, err)
	run(t, "setfattr", "-n", "trusted.hostvol", "-v", string(text), path)
}

func TestTheChoiceOfThePool(t *testing.T) {
	n := newNode(t)
	pools := "pools: [{name: small, path: " + n.dir + "/small, create: true, limit: 100Mi}, {name: large, path: " + n.dir + "/large, create: true, limit: 300Mi}]\n"
	n.start("--config", writeConfig(t, pools))
	in := func(name string, change ...func(*csi.CreateVolumeRequest)) string {
		t.Helper()
		return n.poolOf(n.volume(name, change...))
	}
	for _, c := range []struct{ name, got, want string }{
		{"the most space", in("a", bytes(150*mib)), "large"},
		{"still the most", in("b", bytes(60*mib)), "large"},
		{"too much for now", exhausted(n, 150*mib), "ResourceExhausted"}, // another day it fits into the large one
		{"now the other", in("c", bytes(60*mib)), "small"},
		{"named", in("d", bytes(mib), with("pool", "small")), "small"},
	} {
		if c.got != c.want {
			t.Errorf("%s: in %s, want %s", c.name, c.got, c.want)
		}
	}
	_, err := n.create("e", with("pool", "none"))
	want(t, err, codes.InvalidArgument, "small, large")
	_, err = n.create("e", bytes(60*mib), with("pool", "small"))
	want(t, err, codes.ResourceExhausted)
	_, err = n.create("c", bytes(60*mib), with("pool", "large"))
	want(t, err, codes.AlreadyExists)
	_, err = n.create("e", bytes(301*mib))
	want(t, err, codes.OutOfRange)
	_, err = n.create("e", bytes(101*mib), with("pool", "small"))
	want(t, err, codes.OutOfRange)
	n.stop()
	n.args = n.args[:2]
	n.start("--config", writeConfig(t, pools+"defaultPool: small"))
	if got := in("f", bytes(mib)); got != "small" {
		t.Errorf("the default: in %s", got)
	}
}
