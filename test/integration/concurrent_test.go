package integration

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const callers = 16

// together makes the call from all callers at once, and gives their errors.
func together(call func(i int) error) []error {
	errs := make([]error, callers)
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range errs {
		all.Go(func() {
			<-begin
			errs[i] = call(i)
		})
	}
	close(begin)
	all.Wait()
	return errs
}

// On one volume, one call is made and the others may be told to try again; no other answer is given. What is
// there in the end is what one call would have made.
func TestTogetherOnOneVolume(t *testing.T) {
	n := serve(t)
	target := n.target("pod")
	for round := range 10 {
		steps := []struct {
			name string
			call func(int) error
			end  func() string
		}{
			{"create", func(int) error { _, err := n.create("vol"); return err }, func() string {
				return differ(n.all(), []string{"vol"})
			}},
			{"expand", func(int) error { return n.expand("vol", 32*mib) }, func() string {
				if v, err := n.get("vol"); err != nil || v.GetCapacityBytes() != 32*mib {
					return fmt.Sprint(v, err)
				}
				return differ(n.poolState("default").ReservedBytes, int64(32*mib))
			}},
			{"publish", func(int) error { return n.publish("vol", target) }, func() string {
				return differ(layers(t, target), 1)
			}},
			{"unpublish", func(int) error { return n.unpublish("vol", target) }, func() string {
				return differ(layers(t, target), 0)
			}},
			{"delete", func(int) error { return n.remove("vol") }, func() string {
				return differ(len(n.all()), 0)
			}},
		}
		for _, s := range steps {
			done := false
			for _, err := range together(s.call) {
				done = done || err == nil
				oneOf(t, err, codes.OK, codes.Aborted)
			}
			if !done {
				t.Errorf("round %d: %s: nobody succeeded", round, s.name)
			}
			if why := s.end(); why != "" {
				t.Errorf("round %d: after %s: %s", round, s.name, why)
			}
		}
	}
}

// On volumes of their own, nobody is in anybody's way.
func TestTogetherOnDifferentVolumes(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			var ids, targets []string
			for i := range callers {
				ids = append(ids, fmt.Sprintf("vol-%02d", i))
				targets = append(targets, n.target(ids[i]))
			}
			for range 3 {
				all := func(name string, call func(i int) error) {
					t.Helper()
					for i, err := range together(call) {
						if err != nil {
							t.Errorf("%s %s: %v", name, ids[i], err)
						}
					}
				}
				all("create", func(i int) error { _, err := n.create(ids[i]); return err })
				if why := differ(n.all(), ids); why != "" {
					t.Error(why)
				}
				all("expand", func(i int) error { return n.expand(ids[i], 32*mib) })
				if why := differ(n.poolState("default").ReservedBytes, callers*32*mib); why != "" {
					t.Error(why)
				}
				all("publish", func(i int) error { return n.publish(ids[i], targets[i]) })
				for _, target := range targets {
					if why := differ(layers(t, target), 1); why != "" {
						t.Error(target, why)
					}
				}
				all("stats", func(i int) error { _, err := n.stats(ids[i], targets[i]); return err })
				all("unpublish", func(i int) error { return n.unpublish(ids[i], targets[i]) })
				all("delete", func(i int) error { return n.remove(ids[i]) })
				if left := n.all(); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			}
			n.empty()
		})
	}
}

// Everything at once on a few volumes: each answer is one that makes sense, and the pool is in order afterwards.
func TestAllCallsAtOnce(t *testing.T) {
	n := serve(t)
	ids := []string{"a", "b", "c"}
	targets := map[string][]string{}
	for _, id := range ids {
		targets[id] = []string{n.target(id + "1"), n.target(id + "2")}
	}
	sensible := []codes.Code{codes.OK, codes.Aborted, codes.NotFound, codes.FailedPrecondition}
	for i, err := range together(func(i int) error {
		for step := range 60 {
			id := ids[(i+step)%len(ids)]
			target := targets[id][i%2]
			var err error
			switch (i*7 + step) % 6 {
			case 0, 1:
				_, err = n.create(id)
			case 2:
				err = n.publish(id, target)
			case 3:
				err = n.unpublish(id, target)
			case 4:
				err = n.expand(id, 16*mib)
			case 5:
				err = n.remove(id)
			}
			if !slices.Contains(sensible, status.Code(err)) {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	n.admin("check")
	for _, id := range ids {
		for _, target := range targets[id] {
			n.unmounted(id, target)
		}
		must(t, n.remove(id))
	}
	n.empty()
}

// empty waits until nothing is in the pool, and nothing is promised.
func (n *node) empty() {
	n.t.Helper()
	n.emptyWithin(waitPurge)
}

func (n *node) emptyWithin(within time.Duration) {
	n.t.Helper()
	eventually(n.t, within, func() string {
		p := n.poolState("default")
		if p.Volumes+p.TrashEntries+p.Quarantined > 0 || p.ReservedBytes+p.TrashBytes > 0 {
			return fmt.Sprintf("the pool is not empty: %+v", p)
		}
		return ""
	})
}

// differ says how two things differ, "" when they do not.
func differ(have, want any) string {
	if h, w := fmt.Sprintf("%v", have), fmt.Sprintf("%v", want); h != w {
		return fmt.Sprintf("%s, want %s", h, w)
	}
	return ""
}

// Deleting, restoring and purging one id at once loses no count, and never gives half a volume back.
func TestTheTrashTogether(t *testing.T) {
	n := serve(t, keeping(t)...)
	for i, err := range together(func(i int) error {
		for step := range 12 {
			switch (i + step) % 4 {
			case 0:
				_, err := n.create("vol")
				if err == nil || status.Code(err) == codes.Aborted {
					continue
				}
				return err
			case 1:
				if err := n.remove("vol"); err != nil && status.Code(err) != codes.Aborted {
					return err
				}
			case 2:
				_, _ = n.daemon.Admin(n.ctx(), "trash", "restore", "vol")
			case 3:
				_, _ = n.daemon.Admin(n.ctx(), "trash", "purge", "vol")
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	n.admin("check")
	for range 2 {
		n.volume("vol")
		target := n.mounted("vol", "pod")
		n.unmounted("vol", target)
		n.restart()
	}
	must(t, n.remove("vol"))
	n.admin("trash", "purge", "--all")
	n.empty()
}
