package volume

import (
	"strings"
	"testing"

	"github.com/hostvol/hostvol/pkg/pool"
	"github.com/hostvol/hostvol/pkg/volume/handle"
)

func TestTheIDOfAName(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"pvc-0b3e9d2c", "pvc-0b3e9d2c"},
		{"a.b", "a.b"},
		{strings.Repeat("a", 119), strings.Repeat("a", 119)},
		// Others get a readable beginning and a hash. These are on disks: they never change.
		{"PVC/1", "pvc-1-a11fc0c237840b63"},
		{"../etc", "etc-"},
		{"größe", "gr--e-"},
		{"///", "v-"},
		{"卷", "v-"},
		{".hidden", "hidden-"},
		{"a ", "a-"},
	} {
		got := idOf(c.name)
		if !pool.ValidID(got) {
			t.Errorf("%q: %q is no id", c.name, got)
		}
		if got != idOf(c.name) {
			t.Errorf("%q: not always the same", c.name)
		}
		if strings.HasSuffix(c.want, "-") {
			if !strings.HasPrefix(got, c.want) || len(got) != len(c.want)+16 {
				t.Errorf("%q: %q, want %s and a hash", c.name, got, c.want)
			}
		} else if got != c.want {
			t.Errorf("%q: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestDifferentNamesHaveDifferentIDs(t *testing.T) {
	seen := map[string]string{}
	long := strings.Repeat("x", 200)
	for _, name := range []string{"A", "a", "a/", "/a", "a//", "Ä", "ä", long, long + "y", long + "Y", "a\x00", "a\n", " a", "a_b", "a-b"} {
		id := idOf(name)
		if other, taken := seen[id]; taken {
			t.Errorf("%q and %q are both %q", name, other, id)
		}
		seen[id] = name
	}
}

func TestHandles(t *testing.T) {
	tag := handle.Tag("node-a")
	if len(tag) != 8 || tag == handle.Tag("node-b") {
		t.Fatalf("tag %q", tag)
	}
	single, distributed := &Service{tag: tag}, &Service{tag: tag, opts: Options{Distributed: true}}
	if single.handle("vol") != "vol" || distributed.handle("vol") != "vol@"+tag {
		t.Errorf("%s %s", single.handle("vol"), distributed.handle("vol"))
	}
	for _, c := range []struct {
		handle        string
		ours, foreign bool
	}{
		{"vol", true, false},
		{"vol@" + tag, true, true}, // of the form; whether it is ours is asked first
		{"vol@deadbeef", false, true},
		{"vol@", false, false},
		{"vol@dead", false, false},
		{"vol@nothexno", false, false},
		{"vol@" + tag + "@" + tag, false, false},
		{"@" + tag, false, false},
		{"../x", false, false},
		{"../x@deadbeef", false, false},
		{"", false, false},
	} {
		for _, s := range []*Service{single, distributed} {
			id, ours := s.local(c.handle)
			if ours != c.ours || ours && id != "vol" || foreign(c.handle) != c.foreign {
				t.Errorf("%q: id %q, ours %v, foreign %v", c.handle, id, ours, foreign(c.handle))
			}
		}
	}
	if single.key("vol") != single.key("vol@"+tag) || single.key("a/b") != "a/b" {
		t.Error("keys")
	}
}
