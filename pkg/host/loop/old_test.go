package loop

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// Kernels before 5.8.
func TestConfigureOld(t *testing.T) {
	f, err := os.Create(hosttest.Ext4(t, 256, "") + "/image")
	if err == nil {
		err = f.Truncate(1<<20 + 700)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, o := range []Options{{}, {ReadOnly: true}, {NoDiscard: true}} {
		d, err := attach(t.Context(), f, o, configureOld)
		if err != nil {
			t.Fatal(err)
		}
		if d.ReadOnly != o.ReadOnly || !d.DirectIO || d.Autoclear || d.Size != 1<<20+512 {
			t.Errorf("%+v: %+v", o, d)
		}
		if lingering, err := Detach(f, d); err != nil || lingering {
			t.Errorf("detach: %t, %v", lingering, err)
		}
	}
}

// Others may take every device that the kernel names, for some time.
func TestTaken(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/image")
	if err == nil {
		err = f.Truncate(1 << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tries := range []int{10, maxTries + 1} {
		n := 0
		d, err := attach(t.Context(), f, Options{}, func(device, image *os.File, o Options) error {
			if n++; n < tries {
				return unix.EBUSY
			}
			return configure(device, image, o)
		})
		if tries > maxTries {
			// Another of the machine can take a device before a try gets so far.
			if !errors.Is(err, unix.EBUSY) || n > maxTries || n < maxTries-10 {
				t.Errorf("%d tries: %v", n, err)
			}
			continue
		}
		if err != nil || n != tries {
			t.Fatalf("%d tries: %v", n, err)
		}
		if _, err := Detach(f, d); err != nil {
			t.Error(err)
		}
	}
}

func TestNoNode(t *testing.T) {
	const number = 987654
	if _, _, err := look(number, os.O_RDONLY); !errors.Is(err, ErrNotBacked) {
		t.Errorf("neither node nor device: %v", err)
	}
	if _, err := openNode(number, os.O_RDWR); !errors.Is(err, ErrNoNode) || !strings.Contains(err.Error(), "mount the host's /dev") {
		t.Errorf("no node: %v", err)
	}
}

func TestLabel(t *testing.T) {
	for path, want := range map[string]string{
		"":                               "hostvol:",
		"/pool/volumes/a/image":          "hostvol:/pool/volumes/a/image",
		"/" + strings.Repeat("é", 40):    "hostvol:" + strings.Repeat("é", 27),
		strings.Repeat("x", 99) + "/end": "hostvol:" + strings.Repeat("x", 51) + "/end",
	} {
		var got [63]byte
		label(got[:], path)
		if s := strings.TrimRight(string(got[:]), "\x00"); s != want {
			t.Errorf("%s: %q, want %q", path, s, want)
		}
	}
}
