package migrate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/pkg/volume/handle"
)

// What options become, as the handle, the attributes and the mount options; or a
// part of the reason why nothing becomes of them.
func TestTranslate(t *testing.T) {
	tag := handle.Tag("n1")
	for _, c := range []struct{ driver, options, want string }{
		{"local", "volume=data", "data@" + tag + " map[] []"},
		{"local", "VOLUME=data", "data@" + tag + " map[] []"},
		{"local", "volume=data@" + tag, "data@" + tag + " map[] []"},
		{"local", "volume=data@00000000", "another node's volume"},
		{"local", "volume= data", "data-"},
		{"local", "volume=a;Volume=b", "given twice"},
		{"local", "", "neither the option volume nor path"},
		{"local", "path=/srv/../etc", "not an absolute, clean path"},
		{"local", "path=srv", "not an absolute, clean path"},
		{"local", "path=/", "not an absolute, clean path"},
		{"local", "path=/srv/a", "static-pv map[path:/srv/a] []"},
		{"nfs", "server=s:;share=x", "s#x#pv map[server:s share:/x] []"},
		{"nfs", "server=fd00::1;share=//x;protocol=tcp", "[fd00::1]#x#pv map[server:[fd00::1] share:/x] [proto=tcp]"},
		{"nfs", "server=[fd00::1];share=/;opts=vers=3;protocol=nfs4", "[fd00::1]##pv map[server:[fd00::1] share:/] [vers=3]"},
		{"nfs", "server=s;share=/a b", "no NFS driver takes"},
		{"nfs", "server=s", "needs the options"},
		{"cifs", "networkPath=//s/x", "s/x#pv map[source://s/x] []"},
		{"cifs", `source=\\s\x\y;mountoptions=vers=3.0, ,uid=1`, "s/x/y#pv map[source://s/x/y] [vers=3.0 uid=1]"},
		{"cifs", "server=s;share=/x;networkPath=//s/x/", "s/x#pv map[source://s/x] []"},
		{"cifs", "networkPath=//s/x;source=//s/y", "two shares"},
		{"cifs", "networkPath=//s", "not a share"},
		{"cifs", "server=s", "needs the option networkPath"},
		{"lvm", "volumeID=x", "no engine for LVM"},
		{"ceph", "", "not a driver of hostvol"},
	} {
		options := map[string]any{}
		for o := range strings.SplitSeq(c.options, ";") {
			if key, value, ok := strings.Cut(o, "="); ok {
				options[key] = value
			}
		}
		got := ""
		s, err := parse(Object{"driver": "any/" + c.driver, "options": options})
		if err == nil {
			var v *volume
			if v, err = (&Options{Driver: "d", Distributed: true}).translate(s, "pv", "n1", "shop"); err == nil {
				got = fmt.Sprint(v.handle("pv"), " ", v.attributes, " ", v.mountOptions)
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (!strings.Contains(got, c.want) || strings.Contains(c.want, "map[")) {
			t.Errorf("%s %s:\n%s\nwant\n%s", c.driver, c.options, got, c.want)
		}
	}
}
