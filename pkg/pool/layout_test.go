package pool

import (
	"strings"
	"testing"
	"time"
)

func TestValidID(t *testing.T) {
	for id, valid := range map[string]bool{
		"a":                      true,
		"0":                      true,
		"pvc-0b3e":               true,
		"a.b-c":                  true,
		"a..":                    true,
		strings.Repeat("a", 119): true,

		"":                       false,
		".":                      false,
		"..":                     false,
		".hidden":                false,
		"-option":                false,
		"a/b":                    false,
		"A":                      false,
		"a_b":                    false,
		"a@1":                    false,
		"a b":                    false,
		"a\x00":                  false,
		"ä":                      false,
		strings.Repeat("a", 120): false,
	} {
		if ValidID(id) != valid {
			t.Errorf("%q: want %v", id, valid)
		}
	}
}

func TestTrashNames(t *testing.T) {
	at := time.Unix(1700000000, 123456789)
	for _, suffix := range []string{"", purging} {
		id, when, begun, err := parseTrashName(trashName("pvc-1.2", at) + suffix)
		if err != nil || id != "pvc-1.2" || !when.Equal(at) || begun != (suffix != "") {
			t.Errorf("%q: %q %v %v %v", suffix, id, when, begun, err)
		}
	}
	for _, name := range []string{
		"", "a", "a@", "@1", "a@x", "a@1@2", "A@1", "../a@1", "a@1.purged", "a@1.purging.purging", "a@9223372036854775808",
	} {
		if id, _, _, err := parseTrashName(name); err == nil {
			t.Errorf("%q is taken for an entry of %q", name, id)
		}
	}
}
