package volume

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/pool"
)

const podOfTest = "0b1c7a1e-6d7f-4c57-9a51-0d1f2f6f3c11"

// inline is what a kubelet asks for an inline volume, with the attributes of the
// pod's author.
func inline(attributes map[string]string) PublishRequest {
	given := map[string]string{
		"csi.storage.k8s.io/ephemeral":           "true",
		"csi.storage.k8s.io/pod.name":            "web-0",
		"csi.storage.k8s.io/pod.namespace":       "default",
		"csi.storage.k8s.io/pod.uid":             podOfTest,
		"csi.storage.k8s.io/serviceAccount.name": "default",
	}
	maps.Copy(given, attributes)
	return PublishRequest{
		Handle: "csi-" + strings.Repeat("0123456789abcdef", 4), Context: given,
		Target: "/kubelet/pods/" + podOfTest + "/volumes/kubernetes.io~csi/data/mount",
	}
}

func TestEphemeralAttributes(t *testing.T) {
	s := &Service{opts: Options{KubeletDir: "/kubelet"}, tag: "01234567"}
	for _, c := range []struct {
		name  string
		given map[string]string
		bytes int64
		want  parameters
	}{
		{"the size", map[string]string{"size": "1Gi"}, 1 << 30, parameters{enforce: engine.Preferred, mode: 0o777}},
		{"a decimal size", map[string]string{"size": "2.5M"}, 2500000, parameters{enforce: engine.Preferred, mode: 0o777}},
		{"less than the smallest", map[string]string{"size": "1"}, MinBytes, parameters{enforce: engine.Preferred, mode: 0o777}},
		{
			"all", map[string]string{"size": "64Mi", "pool": "fast", "enforce": "required", "mode": "0750", "uid": "7", "gid": "8"},
			64 << 20, parameters{pool: "fast", enforce: engine.Required, mode: 0o750, uid: 7, gid: 8},
		},
		{
			"the kubelet's", map[string]string{"size": "1Gi", "csi.storage.k8s.io/serviceAccount.tokens": "{}", "csi.storage.k8s.io/": ""},
			1 << 30, parameters{enforce: engine.Preferred, mode: 0o777},
		},
	} {
		r := inline(c.given)
		got, err := s.parseEphemeral(r)
		if err != nil || got.bytes != c.bytes || got.params != c.want || got.id != r.Handle || got.of != (pool.Ephemeral{Pod: podOfTest, Target: r.Target}) {
			t.Errorf("%s: %+v %v", c.name, got, err)
		}
	}
}

func TestNoEphemeralVolumeWithoutTheKey(t *testing.T) {
	s := &Service{opts: Options{KubeletDir: "/kubelet"}}
	for _, value := range []string{"", "false", "True", "1"} {
		if got, err := s.parseEphemeral(inline(map[string]string{attributeEphemeral: value, "bogus": "x"})); got != nil || err != nil {
			t.Errorf("%q: %+v %v", value, got, err)
		}
	}
	if got, err := s.parseEphemeral(PublishRequest{}); got != nil || err != nil {
		t.Errorf("%+v %v", got, err)
	}
}

func TestEphemeralAttributesThatAreWrong(t *testing.T) {
	s := &Service{opts: Options{KubeletDir: "/kubelet"}, tag: "01234567"}
	for _, c := range []struct {
		key, value string
		word       string
	}{
		{"size", "", "size: 1Gi"},
		{"size", "0", "positive"},
		{"size", "-1Gi", "positive"},
		{"size", "big", "positive"},
		{"size", "1 Gi", "positive"},
		{"path", "/etc", "path"},
		{"Size", "1Gi", "size, pool, engine, enforce, mode, uid, gid"},
		{"fsType", "ext4", `"fsType"`},
		{"mode", "rwx", "mode"},
		{"enforce", "yes", "enforce"},
		{"uid", "root", "uid"},
		{"gid", "-1", "gid"},
		{attributePodUID, "", "podInfoOnMount"},
		{attributePodUID, "..", "not a uid"},
		{attributePodUID, ".", "not a uid"},
		{attributePodUID, "a/b", "not a uid"},
		{attributePodUID, strings.Repeat("a", 129), "not a uid"},
		{attributePodUID, "another", "/kubelet/pods/another"},
	} {
		given := map[string]string{"size": "1Gi"}
		given[c.key] = c.value
		if _, err := s.parseEphemeral(inline(given)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s=%q: %v, which lacks %q", c.key, c.value, err, c.word)
		}
	}
	for _, handle := range []string{"csi-a@01234567", "csi-a@fedcba98", "../a", "CSI"} {
		r := inline(map[string]string{"size": "1Gi"})
		r.Handle = handle
		if _, err := s.parseEphemeral(r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", handle, err)
		}
	}
}

func TestAnotherEphemeralVolumeOfThatID(t *testing.T) {
	have := pool.Record{
		ID: "csi-a", Volume: engine.Volume{Bytes: 1}, Born: 1, Parameters: map[string]string{"mode": "750"},
		Ephemeral: &pool.Ephemeral{Pod: "p", Target: "/t"},
	}
	for name, change := range map[string]func(*pool.Record){
		"no ephemeral one": func(r *pool.Record) { r.Ephemeral = nil },
		"another pod":      func(r *pool.Record) { r.Ephemeral = &pool.Ephemeral{Pod: "q", Target: "/t"} },
		"another target":   func(r *pool.Record) { r.Ephemeral = &pool.Ephemeral{Pod: "p", Target: "/u"} },
		"another size":     func(r *pool.Record) { r.Born = 2 },
		"other attributes": func(r *pool.Record) { r.Parameters = nil },
	} {
		other := have
		change(&other)
		if err := sameEphemeral(other, have); !errors.Is(err, ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := sameEphemeral(have, have); err != nil {
		t.Error(err)
	}
}
