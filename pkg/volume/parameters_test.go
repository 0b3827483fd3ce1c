package volume

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/pkg/engine"
)

func TestParameters(t *testing.T) {
	for _, c := range []struct {
		name   string
		given  map[string]string
		want   parameters
		record map[string]string
	}{
		{"none", nil, parameters{enforce: engine.Preferred, mode: 0o777}, map[string]string{}},
		{
			"the defaults said", map[string]string{"enforce": "preferred", "mode": "777", "uid": "0", "gid": "0"},
			parameters{enforce: engine.Preferred, mode: 0o777}, map[string]string{},
		},
		{
			"all", map[string]string{"pool": "a", "enforce": "required", "mode": "02770", "uid": "1000", "gid": "2000"},
			parameters{pool: "a", enforce: engine.Required, mode: 0o2770, uid: 1000, gid: 2000},
			map[string]string{"pool": "a", "enforce": "required", "mode": "2770", "uid": "1000", "gid": "2000"},
		},
		{
			"a sidecar's", map[string]string{"csi.storage.k8s.io/pvc/name": "x", "csi.storage.k8s.io/": ""},
			parameters{enforce: engine.Preferred, mode: 0o777}, map[string]string{},
		},
	} {
		got, err := parseParameters(c.given)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v %v, want %+v", c.name, got, err, c.want)
		}
		if !maps.Equal(got.record(), c.record) {
			t.Errorf("%s: kept as %v, want %v", c.name, got.record(), c.record)
		}
	}
}

func TestParametersThatAreWrong(t *testing.T) {
	for key, values := range map[string][]string{
		"enforce": {"", "Required", "yes"},
		"mode":    {"", "rwx", "8", "-1", "10000", "0o777", "0x1"},
		"uid":     {"", "root", "-1", "4294967295", "1.5", "0x1"},
		"gid":     {"", "root", "4294967296"},
		"Pool":    {"a"},
		"fsType":  {"ext4"},
		"":        {"a"},
	} {
		for _, value := range values {
			err := CheckParameters(map[string]string{key: value})
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s=%q: %v", key, value, err)
			}
		}
	}
	err := CheckParameters(map[string]string{"bogus": "x"})
	for _, known := range []string{"pool", "enforce", "mode", "uid", "gid"} {
		if !strings.Contains(err.Error(), known) {
			t.Errorf("%s is not named: %v", known, err)
		}
	}
}
