package handle

import "testing"

func TestSplit(t *testing.T) {
	for _, c := range []struct{ handle, name, tag string }{
		{Tagged("vol", Tag("node-a")), "vol", Tag("node-a")},
		{"vol", "vol", ""},
		{"vol@66570ff", "vol@66570ff", ""},
		{"vol@66570fg0", "vol@66570fg0", ""},
		{"Vol@66570ff0", "Vol@66570ff0", ""},
		{"@66570ff0", "@66570ff0", ""},
		{"", "", ""},
	} {
		if name, tag := Split(c.handle); name != c.name || tag != c.tag {
			t.Errorf("%q: %q %q", c.handle, name, tag)
		}
	}
}
