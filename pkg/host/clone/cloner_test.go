package clone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func cloneTo(t *testing.T, src, dst string, o Options) *cloner {
	t.Helper()
	for _, dir := range []string{src, dst} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c, err := newCloner(hosttest.Open(t, src), hosttest.Open(t, dst), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// A file whose names were all met is forgotten.
func TestLinksAreForgotten(t *testing.T) {
	dir := t.TempDir()
	c := cloneTo(t, dir+"/src", dir+"/dst", Options{})
	for i := range 500 {
		f := fmt.Sprintf("%s/src/%d", dir, i)
		err := errors.Join(os.WriteFile(f, nil, 0o600), os.Link(f, f+"-b"), os.Link(f, f+"-c"),
			os.Symlink("x", f+"-link"), os.Link(f+"-link", f+"-link-b"))
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, fail := context.WithCancelCause(t.Context())
	if err := c.run(ctx, fail); err != nil {
		t.Fatal(err)
	}
	if left := len(c.links.known); left > 0 {
		t.Errorf("%d files are remembered", left)
	}
	for _, name := range []string{"7-c", "7-link-b"} {
		is, err := os.Lstat(dir + "/dst/" + name)
		first, _ := os.Lstat(dir + "/dst/" + name[:len(name)-2])
		if err != nil || !os.SameFile(is, first) {
			t.Errorf("%s is no other name: %v", name, err)
		}
	}
}

func TestPanicOfAWorker(t *testing.T) {
	dir := t.TempDir()
	c := cloneTo(t, dir+"/src", dir+"/dst", Options{Workers: 2})
	c.pending.Add(1)
	c.jobs <- job{names: []string{"a job without a directory"}}
	ctx, fail := context.WithCancelCause(t.Context())
	if err := c.run(ctx, fail); !errors.Is(err, errPanic) {
		t.Errorf("%v, want the panic", err)
	}
}
