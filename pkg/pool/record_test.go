package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openDir(t *testing.T, path string) *safepath.Dir {
	t.Helper()
	hosttest.Root(t)
	d, err := safepath.OpenRoot(path)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

var example = Record{
	ID: "pvc-1", Name: "PVC/1", Engine: "directory",
	Volume:  engine.Volume{Bytes: 1 << 30, Enforced: true, Project: 536870912},
	Enforce: engine.Required, Born: 1 << 29, Parameters: map[string]string{"pool": "a"},
	Created: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), Origin: "/srv/old",
}

// The words on the disk are kept for ever: a change of this test is a change of the format.
func TestTheFormatOfARecord(t *testing.T) {
	const written = `{"v":1,"id":"pvc-1","name":"PVC/1","engine":"directory","bytes":1073741824,"enforced":true,"project":536870912,` +
		`"enforce":"required","born":536870912,"params":{"pool":"a"},"created":"2026-11-21T10:00:00Z","origin":"/srv/old"}`
	item := openDir(t, t.TempDir())
	must(t, WriteRecord(item, example))
	value := make([]byte, 4096)
	n, err := unix.Getxattr(item.Name(), "trusted.hostvol", value)
	must(t, err)
	if string(value[:n]) != written {
		t.Errorf("%s\nwant\n%s", value[:n], written)
	}
	read, err := ReadRecord(item, "pvc-1")
	must(t, err)
	again := openDir(t, t.TempDir())
	must(t, WriteRecord(again, read))
	if n, err = unix.Getxattr(again.Name(), Attribute, value); err != nil || string(value[:n]) != written {
		t.Errorf("read and written again: %s %v", value[:n], err)
	}
}

func TestRecordsThatAreNotUnderstood(t *testing.T) {
	for name, text := range map[string]string{
		"garbage":     "garbage",
		"empty":       "",
		"cut":         `{"v":1,"id":"pvc-1","engine":"directory","byt`,
		"no format":   `{"id":"pvc-1","engine":"directory","bytes":1}`,
		"future":      `{"v":2,"id":"pvc-1","engine":"directory","bytes":1}`,
		"another id":  `{"v":1,"id":"pvc-2","engine":"directory","bytes":1}`,
		"no size":     `{"v":1,"id":"pvc-1","engine":"directory"}`,
		"negative":    `{"v":1,"id":"pvc-1","engine":"directory","bytes":-1}`,
		"no engine":   `{"v":1,"id":"pvc-1","bytes":1}`,
		"wrong types": `{"v":"1","id":1}`,
		"too long":    `{"v":1,"id":"pvc-1","engine":"directory","bytes":1,"name":"` + strings.Repeat("x", recordLimit) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			item := openDir(t, t.TempDir())
			must(t, item.SetAttribute(Attribute, []byte(text)))
			if r, err := ReadRecord(item, "pvc-1"); !errors.Is(err, ErrRecord) {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
	if r, err := ReadRecord(openDir(t, t.TempDir()), "pvc-1"); !errors.Is(err, ErrRecord) {
		t.Errorf("no attribute: %+v %v", r, err)
	}
	// What a later version adds does not make a record unreadable.
	item := openDir(t, t.TempDir())
	must(t, item.SetAttribute(Attribute, []byte(`{"v":1,"id":"pvc-1","engine":"directory","bytes":1,"later":{}}`)))
	if _, err := ReadRecord(item, "pvc-1"); err != nil {
		t.Error(err)
	}
}

func TestARecordThatIsTooLarge(t *testing.T) {
	item := openDir(t, t.TempDir())
	must(t, WriteRecord(item, example))
	large := example
	large.Name = strings.Repeat("x", recordLimit)
	if err := WriteRecord(item, large); err == nil {
		t.Error("written")
	}
	if r, err := ReadRecord(item, "pvc-1"); err != nil || r.Name != example.Name {
		t.Errorf("the old one is gone: %+v %v", r, err)
	}
}

func TestARecordIsNotReadThroughALink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	must(t, os.Symlink("real", filepath.Join(dir, "link")))
	if _, err := openDir(t, dir).OpenDir("link"); err == nil {
		t.Error("opened")
	}
}
