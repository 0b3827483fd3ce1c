package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// frozen stops every write to a file system until the function that it gives is called. So a copy to it lasts as
// long as a test wants.
func frozen(t *testing.T, dir string) (thaw func()) {
	t.Helper()
	run(t, "fsfreeze", "--freeze", dir)
	var once sync.Once
	thaw = func() { once.Do(func() { run(t, "fsfreeze", "--unfreeze", dir) }) }
	t.Cleanup(thaw)
	return thaw
}

// brief makes a call that has no time, until another one is told that the copy is under way: the first may have
// ended before its copy began.
func brief(t *testing.T, call func(context.Context) error) {
	t.Helper()
	eventually(t, waitPurge, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := call(ctx)
		if status.Code(err) == codes.Aborted && strings.Contains(err.Error(), "being copied") {
			return ""
		}
		if !again(err) { // "aborted" is also the answer while the first call prepares the copy
			t.Fatalf("%v, want a copy that takes long", err)
		}
		return err.Error()
	})
}

func (n *node) briefSnapshot(name, source string) {
	n.t.Helper()
	brief(n.t, func(ctx context.Context) error {
		_, err := n.controller.CreateSnapshot(ctx, n.snapshotRequest(name, source))
		return err
	})
}

func (n *node) briefVolume(name string, change ...func(*csi.CreateVolumeRequest)) {
	n.t.Helper()
	r := createRequest(name)
	for _, c := range change {
		c(r)
	}
	brief(n.t, func(ctx context.Context) error {
		_, err := n.controller.CreateVolume(ctx, r)
		return err
	})
}

// endCopy deletes what is being copied, until it is told that the copy is given up: at first the call that
// began it may not have ended yet.
func (n *node) endCopy(id string) {
	n.t.Helper()
	eventually(n.t, waitPurge, func() string {
		err := n.remove(id)
		want(n.t, err, codes.Aborted)
		if !strings.Contains(status.Convert(err).Message(), "given up now") {
			return err.Error()
		}
		return ""
	})
}

// again tells whether a call is to be repeated: it was told so, or its time was over before the copy had ended.
func again(err error) bool {
	return status.Code(err) == codes.Aborted || status.Code(err) == codes.DeadlineExceeded
}

// done repeats a call until there is no reason any more to try again.
func done(t *testing.T, call func() error) {
	t.Helper()
	eventually(t, waitCopy, func() string {
		err := call()
		if again(err) {
			return err.Error()
		}
		must(t, err)
		return ""
	})
}

// A copy outlives the call that began it. Repeats join it, what differs is refused, only a delete of the source waits.
func TestACopyOutlivesItsCall(t *testing.T) {
	n, _, b := twoPools(t, "ext4", "ext4", "")
	metrics := n.metricsAfterRestart()
	n.volume("vol", with("pool", "a"))
	n.volume("other", with("pool", "a"))
	for i := range 300 {
		n.put("vol", fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	n.snapshot("snap", "vol")
	n.snapshot("unused", "vol")
	onB := with("pool", "b")
	thaw := frozen(t, b)
	n.briefVolume("clone", onB, fromVolume("vol"))
	n.briefVolume("restored", onB, fromSnapshot("snap"))

	_, err := n.create("clone", onB, fromVolume("vol"))
	want(t, err, codes.Aborted, "being copied from volume vol")
	_, err = n.create("clone", onB, fromVolume("other"))
	want(t, err, codes.AlreadyExists, "volume vol")
	_, err = n.create("clone", onB)
	want(t, err, codes.AlreadyExists)
	want(t, n.remove("vol"), codes.Aborted, "copied")
	want(t, n.removeSnapshot("snap"), codes.Aborted, "copied")
	must(t, n.removeSnapshot("unused"))
	if text := metrics(); !strings.Contains(text, `hostvol_pool_copies{pool="b"} 2`) {
		t.Errorf("the metrics do not tell of the copies: %s", grep(text, "copies"))
	}
	// The source can be used and changed meanwhile.
	must(t, n.expand("vol", 32*mib))
	target := n.mounted("vol", "pod")
	must(t, os.WriteFile(filepath.Join(target, "new"), nil, 0o600))
	n.unmounted("vol", target)
	n.snapshot("another", "vol")

	thaw()
	done(t, func() error { _, err := n.create("clone", onB, fromVolume("vol")); return err })
	done(t, func() error { _, err := n.create("restored", onB, fromSnapshot("snap")); return err })
	for _, id := range []string{"clone", "restored"} {
		if text, err := os.ReadFile(filepath.Join(b, "volumes", id, "data", "299")); err != nil || len(text) != 1000 {
			t.Errorf("%s: %d bytes, %v", id, len(text), err)
		}
	}
	done(t, func() error { return n.remove("vol") })
	done(t, func() error { return n.removeSnapshot("snap") })
	copiesEnded(t, metrics(), 2, 0)
}

// copiesEnded fails unless the metrics tell of so many copies to the pool "b" that are done and given up, and no others.
func copiesEnded(t *testing.T, text string, done, abandoned int) {
	t.Helper()
	for _, line := range []string{
		`hostvol_pool_copies{pool="b"} 0`,
		fmt.Sprintf(`hostvol_pool_copies_total{pool="b",result="done"} %d`, done),
		fmt.Sprintf(`hostvol_pool_copies_total{pool="b",result="abandoned"} %d`, abandoned),
		`hostvol_pool_copies_total{pool="b",result="failed"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, grep(text, "copie"))
		}
	}
}

func (n *node) metricsAfterRestart() func() string {
	n.t.Helper()
	n.stop()
	metrics := n.metrics()
	n.start()
	return metrics
}

func grep(text, word string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// A snapshot that takes long is not there before it is whole.
func TestASnapshotOutlivesItsCall(t *testing.T) {
	n := serveOn(t, "ext4")
	n.volume("vol")
	n.volume("other")
	thaw := frozen(t, n.pool)
	n.briefSnapshot("snap", "vol")
	_, err := n.cut("snap", "vol")
	want(t, err, codes.Aborted, "being copied from volume vol")
	_, err = n.cut("snap", "other")
	want(t, err, codes.AlreadyExists, "volume vol")
	_, err = n.getSnapshot("snap")
	want(t, err, codes.NotFound)
	if handles, _, err := n.listSnapshots(&csi.ListSnapshotsRequest{}); err != nil || len(handles) > 0 {
		t.Errorf("%v %v", handles, err)
	}
	want(t, n.removeSnapshot("snap"), codes.Aborted)
	want(t, n.remove("vol"), codes.Aborted)
	thaw()
	done(t, func() error { _, err := n.cut("snap", "vol"); return err })
	must(t, n.remove("vol"))
	n.volume("new", fromSnapshot("snap"))
}

// A copy that nobody asks for any more ends, and leaves nothing. One that is asked for goes on.
func TestAbandonedCopies(t *testing.T) {
	n, _, b := twoPools(t, "ext4", "ext4", "copies: {abandonAfter: 1s}")
	n.volume("vol", with("pool", "a"))
	n.snapshot("snap", "vol")
	onB := with("pool", "b")
	thaw := frozen(t, b)
	n.briefVolume("lost", onB, fromVolume("vol"))
	n.briefVolume("kept", onB, fromSnapshot("snap"))
	for begun := time.Now(); time.Since(begun) < 2500*time.Millisecond; time.Sleep(200 * time.Millisecond) {
		_, err := n.create("kept", onB, fromSnapshot("snap"))
		want(t, err, codes.Aborted)
	}
	thaw()
	done(t, func() error { _, err := n.create("kept", onB, fromSnapshot("snap")); return err })
	done(t, func() error { return n.remove("vol") }) // no longer held
	if _, err := n.get("lost"); status.Code(err) != codes.NotFound {
		t.Errorf("lost: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(b, "staging")); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	if reserved := n.poolState("b").ReservedBytes; reserved != 16*mib {
		t.Errorf("%d bytes are reserved", reserved)
	}
}

// Copies that have to wait for others are made, or can be given up.
func TestManyCopies(t *testing.T) {
	n, _, b := twoPools(t, "ext4", "ext4", "")
	metrics := n.metricsAfterRestart()
	n.volume("vol", with("pool", "a"))
	n.put("vol", "file", "text")
	thaw := frozen(t, b)
	const many = 10
	for i := range many {
		n.briefVolume(fmt.Sprint(i), with("pool", "b"), fromVolume("vol"))
	}
	n.endCopy("9")
	thaw()
	done(t, func() error { return n.remove("9") })
	for i := range many - 1 {
		done(t, func() error {
			_, err := n.create(fmt.Sprint(i), with("pool", "b"), fromVolume("vol"))
			return err
		})
	}
	if got := len(n.all()); got != many {
		t.Errorf("%d volumes", got)
	}
	copiesEnded(t, metrics(), many-1, 1)
}

// A delete of what is being made ends the copy.
func TestADeleteEndsTheCopy(t *testing.T) {
	n, _, b := twoPools(t, "ext4", "ext4", "")
	metrics := n.metricsAfterRestart()
	n.volume("vol", with("pool", "a"))
	thaw := frozen(t, b)
	n.briefVolume("new", with("pool", "b"), fromVolume("vol"))
	n.endCopy("new")
	thaw()
	done(t, func() error { return n.remove("vol") }) // the copy has ended
	copiesEnded(t, metrics(), 0, 1)
	if left := n.all(); len(left) > 0 {
		t.Errorf("%v", left)
	}
	must(t, n.remove("new"))
}

// A stop ends the copies, and the next start has nothing left of them.
func TestAStopEndsCopies(t *testing.T) {
	n, _, b := twoPools(t, "ext4", "ext4", "")
	n.volume("vol", with("pool", "a"))
	for i := range 300 {
		n.put("vol", fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	onB := with("pool", "b")
	for proven, tries := 0, 0; proven < 2; tries++ {
		if tries == 8 {
			t.Fatal("no stop began while a copy was under way")
		}
		thaw := frozen(t, b)
		n.briefVolume("clone", onB, fromVolume("vol"))
		stopped, d := make(chan error, 1), n.daemon
		go func() { stopped <- d.Stop() }()
		// The kernel may have chosen the very thread for the signal that waits for the file system.
		stopping := false
		for begun := time.Now(); !stopping && time.Since(begun) < 3*time.Second; time.Sleep(10 * time.Millisecond) {
			_, err := os.Lstat(n.sockets()[0])
			stopping = os.IsNotExist(err)
		}
		thaw()
		must(t, <-stopped)
		n.daemon = nil
		if stopping {
			proven++
			for _, dir := range []string{"staging", "volumes"} {
				if left, err := os.ReadDir(filepath.Join(b, dir)); err != nil || len(left) > 0 {
					t.Errorf("%s: %v %v", dir, left, err)
				}
			}
		}
		n.start()
		if _, err := n.get("clone"); stopping && status.Code(err) != codes.NotFound {
			t.Errorf("clone: %v", err)
		}
		must(t, n.remove("clone")) // of a stop that came too late
	}
	n.volume("clone", onB, fromVolume("vol"))
}

// Many callers get one copy.
func TestCopiesTogether(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			n.volume("vol")
			n.put("vol", "file", "text")
			for round := range 5 {
				snap, id := fmt.Sprintf("snap-%d", round), fmt.Sprintf("new-%d", round)
				for _, call := range []func(int) error{
					func(int) error { _, err := n.cut(snap, "vol"); return err },
					func(int) error { _, err := n.create(id, fromSnapshot(snap)); return err },
				} {
					for _, err := range together(call) {
						oneOf(t, err, codes.OK, codes.Aborted)
					}
					must(t, call(0))
				}
				n.has(id, "file", "text")
				for i, err := range together(func(i int) error {
					if i%2 == 0 {
						return n.removeSnapshot(snap)
					}
					_, err := n.create(fmt.Sprintf("%s-%d", id, i), fromSnapshot(snap))
					return err
				}) {
					oneOf(t, err, codes.OK, codes.Aborted, codes.NotFound)
					if made := fmt.Sprintf("%s-%d", id, i); i%2 == 1 && err == nil {
						n.has(made, "file", "text")
					}
				}
			}
		})
	}
}

// What a copy makes of a tree that changes under it is in order, if not of one moment.
func TestCloneWhileTheSourceIsWritten(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			n.volume("vol", bytes(200*mib))
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			for i := range 3 {
				writers.Go(func() { churn(ctx, n.data("vol"), i) })
			}
			for i := range 6 {
				snap, id := fmt.Sprintf("snap-%d", i), fmt.Sprintf("clone-%d", i)
				n.snapshot(snap, "vol")
				n.volume(id, bytes(200*mib), fromVolume("vol"))
				n.volume("restored-"+id, bytes(200*mib), fromSnapshot(snap))
				for _, made := range []string{id, "restored-" + id} {
					checkChurned(t, n.data(made), kind == "btrfs")
				}
			}
			stop()
			writers.Wait()
		})
	}
}

// churn makes, fills, renames and removes files below dir. Each file says its own number over and over. Before the
// file b of a pair is made, its a is there.
func churn(ctx context.Context, dir string, writer int) {
	for i := 0; ctx.Err() == nil; i++ {
		sub := filepath.Join(dir, fmt.Sprintf("w%d", writer), fmt.Sprint(i%5))
		_ = os.MkdirAll(sub, 0o755)
		name := filepath.Join(sub, fmt.Sprint(i%40))
		text := strings.Repeat(fmt.Sprintf("%08d", i), 1+i%3000)
		for _, end := range []string{".a", ".b"} {
			if writeSynced(name+".new", text) == nil {
				_ = os.Rename(name+".new", name+end)
			}
		}
		if i%7 == 0 {
			_ = os.Remove(name + ".b")
			_ = os.Remove(name + ".a")
		}
	}
}

func writeSynced(path, text string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// checkChurned reads what churn has made: a file with its last name is whole, and on an instant copy a b has its a.
func checkChurned(t *testing.T, dir string, instant bool) {
	t.Helper()
	files := 0
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, ".new") {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		must(t, err)
		if len(text) < 8 || len(text)%8 != 0 || strings.Count(string(text), string(text[:8])) < len(text)/8 {
			t.Errorf("%s has %d bytes that nobody wrote so", path, len(text))
		}
		if a := strings.TrimSuffix(path, ".b") + ".a"; instant && strings.HasSuffix(path, ".b") {
			if _, err := os.Stat(a); err != nil {
				t.Errorf("%s without %v", path, err)
			}
		}
		return nil
	}))
	if files == 0 {
		t.Logf("%s is empty", dir)
	}
}

// A disk that fills up in the middle of a copy fails the copy and nothing else.
func TestAFullPoolInTheMiddleOfACopy(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			a, b := n.filesystem("ext4", 1024), n.filesystem(kind, 520)
			n.pool = a
			n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: a, path: %s, create: true}, {name: b, path: %s, create: true, overcommit: 8, reserve: 0}]", a, b)))
			n.volume("vol", with("pool", "a"), bytes(700*mib))
			for i := range 8 {
				_, err := write(t, filepath.Join(n.data("vol"), fmt.Sprint(i)), 80*mib)
				must(t, err)
			}
			n.volume("small", with("pool", "b"), bytes(mib))
			for range 2 {
				_, err := n.create("clone", with("pool", "b"), bytes(700*mib), fromVolume("vol"))
				want(t, err, codes.ResourceExhausted)
				if left, err := os.ReadDir(filepath.Join(b, "staging")); err != nil || len(left) > 0 {
					t.Errorf("%v %v", left, err)
				}
				if reserved := n.poolState("b").ReservedBytes; reserved != mib {
					t.Errorf("%d bytes are reserved", reserved)
				}
			}
			if kind == "ext4" { // a small btrfs that was full tells of no free space for long
				n.volume("other", with("pool", "b"), bytes(mib))
			} else if out := run(t, "btrfs", "subvolume", "list", b); strings.Contains(out, "clone") {
				t.Errorf("%s", out)
			}
			must(t, n.remove("vol"))
		})
	}
}

// The error of a copy that ended when its call was gone is told to the next call.
func TestTheErrorOfACopyIsTold(t *testing.T) {
	n := newNode(t)
	a, b := n.filesystem("ext4", 1024), n.filesystem("ext4", 520)
	n.pool = a
	n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: a, path: %s, create: true}, {name: b, path: %s, create: true, overcommit: 8, reserve: 0}]", a, b)))
	n.volume("vol", with("pool", "a"), bytes(700*mib))
	_, err := write(t, filepath.Join(n.data("vol"), "file"), 600*mib)
	must(t, err)
	change := []func(*csi.CreateVolumeRequest){with("pool", "b"), bytes(700 * mib), fromVolume("vol")}
	thaw := frozen(t, b)
	n.briefVolume("clone", change...)
	thaw()
	eventually(t, waitCopy, func() string {
		_, err := n.create("clone", change...)
		if again(err) {
			return err.Error()
		}
		want(t, err, codes.ResourceExhausted, "begun by an earlier call")
		return ""
	})
}

// Snapshots count what they hold, and what a volume shares it may have to write anew.
func TestTheSpaceOfSnapshots(t *testing.T) {
	n := newNode(t)
	n.pool = n.filesystem("btrfs", 1024)
	n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: default, path: %s, create: true, limit: 200Mi}]", n.pool)))
	n.volume("vol", bytes(100*mib))
	_, err := write(t, filepath.Join(n.data("vol"), "file"), 60*mib)
	must(t, err)
	unix.Sync()
	n.snapshot("one", "vol")
	state := n.poolState("default")
	if held := n.snapshots()["one"].HeldBytes; held < 60*mib || held > 62*mib || state.ReservedBytes != 100*mib+held {
		t.Errorf("%d held, %d reserved", held, state.ReservedBytes)
	}
	_, err = n.cut("two", "vol")
	want(t, err, codes.ResourceExhausted)
	_, err = n.create("clone", bytes(100*mib), fromVolume("vol"))
	want(t, err, codes.ResourceExhausted)
	n.restart()
	if again := n.poolState("default"); again.ReservedBytes != state.ReservedBytes {
		t.Errorf("%d reserved, before the restart %d", again.ReservedBytes, state.ReservedBytes)
	}
	must(t, n.removeSnapshot("one"))
	eventually(t, waitPurge, func() string { return differ(n.poolState("default").ReservedBytes, int64(100*mib)) })
	// What was not on the disk yet counts as well.
	_, err = write(t, filepath.Join(n.data("vol"), "more"), 20*mib)
	must(t, err)
	n.snapshot("two", "vol")
	if held := n.snapshots()["two"].HeldBytes; held < 80*mib {
		t.Errorf("%d held", held)
	}
}

// A snapshot that turns out to hold more than was reckoned, and than the pool has left, is none.
func TestASnapshotOfUnwrittenData(t *testing.T) {
	n := newNode(t)
	n.pool = n.filesystem("btrfs", 1024)
	n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: default, path: %s, create: true, limit: 150Mi}]", n.pool)))
	n.volume("vol", bytes(100*mib))
	_, err := write(t, filepath.Join(n.data("vol"), "file"), 90*mib)
	must(t, err)
	for range 2 { // at the second try the kernel knows
		_, err = n.cut("snap", "vol")
		want(t, err, codes.ResourceExhausted, "not enough space in the pool")
		if reserved := n.poolState("default").ReservedBytes; reserved != 100*mib {
			t.Errorf("%d bytes are reserved", reserved)
		}
	}
	for _, dir := range []string{"staging", "snapshots"} {
		if left, err := os.ReadDir(filepath.Join(n.pool, dir)); err != nil || len(left) > 0 {
			t.Errorf("%s: %v %v", dir, left, err)
		}
	}
}

// While a pool is not open, nobody knows what is in it.
func TestSnapshotsInAPoolThatIsNotOpen(t *testing.T) {
	n, _, b := twoPools(t, "ext4", "ext4", "")
	n.faulty = true
	n.volume("vol", with("pool", "a"))
	n.volume("away", with("pool", "b"))
	n.snapshot("gone", "away")
	n.snapshot("here", "vol")
	n.stop()
	must(t, os.Rename(b+"/pool.json", b+"/kept"))
	must(t, n.tryStart())
	_, err := n.create("new", fromSnapshot("gone"))
	want(t, err, codes.Unavailable)
	_, err = n.create("new", fromVolume("away"))
	want(t, err, codes.Unavailable)
	_, err = n.create("new", fromSnapshot("here"))
	want(t, err, codes.Unavailable) // the volume may exist
	_, err = n.cut("here", "vol")
	must(t, err)
	_, err = n.cut("another", "vol")
	want(t, err, codes.Unavailable)
	_, err = n.getSnapshot("gone")
	want(t, err, codes.Unavailable)
	want(t, n.removeSnapshot("gone"), codes.Unavailable)
	_, _, err = n.listSnapshots(&csi.ListSnapshotsRequest{SnapshotId: "gone"})
	want(t, err, codes.Unavailable)
	must(t, n.removeSnapshot("here"))
	n.stop()
	must(t, os.Rename(b+"/kept", b+"/pool.json"))
	must(t, n.tryStart())
	n.volume("new", fromSnapshot("gone"))
}

// What cannot be understood in snapshots/ is left as it is, and told.
func TestSnapshotsThatCannotBeRead(t *testing.T) {
	n, a, b := twoPools(t, "ext4", "ext4", "")
	n.faulty = true
	n.volume("vol", with("pool", "a"))
	n.volume("wol", with("pool", "b"))
	n.snapshot("good", "vol")
	n.snapshot("broken", "vol")
	n.snapshot("twin", "vol")
	n.snapshot("nit", "wol")
	n.stop()
	must(t, unix.Removexattr(filepath.Join(a, "snapshots/broken"), "trusted.hostvol"))
	must(t, os.Mkdir(filepath.Join(a, "snapshots/Strange"), 0o700))
	run(t, "cp", "-a", filepath.Join(a, "snapshots/twin"), filepath.Join(b, "snapshots/twin"))
	run(t, "cp", "-a", filepath.Join(a, "snapshots/good"), filepath.Join(a, "volumes/good"))
	must(t, n.tryStart())
	for _, id := range []string{"broken", "twin"} {
		_, err := n.create("new", fromSnapshot(id))
		want(t, err, codes.FailedPrecondition)
		want(t, n.removeSnapshot(id), codes.FailedPrecondition)
		_, err = n.cut(id, "vol")
		want(t, err, codes.FailedPrecondition)
		if _, err := os.Stat(filepath.Join(a, "snapshots", id)); err != nil {
			t.Error(err)
		}
	}
	if got := n.poolState("a").Quarantined; got != 4 {
		t.Errorf("%d quarantined", got)
	}
	out := n.refused("check")
	for _, word := range []string{"snapshots/broken", "snapshots/Strange", "snapshots/twin", "volumes/good"} {
		if !strings.Contains(out, word) {
			t.Errorf("check lacks %s: %s", word, out)
		}
	}
	n.volume("new", fromSnapshot("good"))
}
