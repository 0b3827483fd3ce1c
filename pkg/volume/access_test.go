package volume

import (
	"strings"
	"testing"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/pool"
)

func TestMismatch(t *testing.T) {
	dir := pool.Record{ID: "vol"}
	raw := pool.Record{ID: "vol", Volume: engine.Volume{Form: engine.Form{Block: true}}}
	image := pool.Record{ID: "vol", Volume: engine.Volume{Form: engine.Form{FSType: "xfs"}}}
	for name, c := range map[string]struct {
		rec  pool.Record
		a    Access
		want string // a part of the answer, "" for none
	}{
		"a directory":                  {dir, Access{Options: []string{"noatime,ro"}}, ""},
		"a directory as a device":      {dir, Access{Block: true}, "volumeMode: Filesystem"},
		"a directory with a type":      {dir, Access{FSType: "ext4"}, "leave out"},
		"a device":                     {raw, Access{Block: true}, ""},
		"a device as a directory":      {raw, Access{}, "volumeMode: Block"},
		"a filesystem":                 {image, Access{}, ""},
		"a filesystem of its type":     {image, Access{FSType: "xfs"}, ""},
		"a filesystem of another type": {image, Access{FSType: "ext4"}, "has the filesystem xfs"},
		"a filesystem with an option":  {image, Access{Options: []string{"logbufs=8"}}, ""},
		"a filesystem as a device":     {image, Access{Block: true}, "volumeMode: Filesystem"},
	} {
		got := mismatch(c.rec, c.a)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestEngineFor(t *testing.T) {
	for name, c := range map[string]struct {
		given map[string]string
		a     Access
		want  string
	}{
		"nothing":            {nil, Access{}, directoryEngine},
		"a device":           {nil, Access{Block: true}, imageEngine},
		"an image":           {map[string]string{"engine": "image"}, Access{}, imageEngine},
		"a thick one":        {map[string]string{"allocation": "thick"}, Access{}, imageEngine},
		"a thin one":         {map[string]string{"allocation": "thin"}, Access{}, imageEngine},
		"a directory device": {map[string]string{"engine": "directory"}, Access{Block: true}, directoryEngine},
	} {
		params, err := parseParameters(c.given)
		if err != nil {
			t.Fatal(err)
		}
		if got := params.engineFor(c.a); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
