package single

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

const groups = `apiVersion: groupsnapshot.storage.k8s.io/v1
kind: VolumeGroupSnapshotClass
metadata: {name: hostvol-e2e}
driver: hostvol.csi.io
deletionPolicy: Delete
---
apiVersion: groupsnapshot.storage.k8s.io/v1
kind: VolumeGroupSnapshot
metadata: {name: cut}
spec:
  volumeGroupSnapshotClassName: hostvol-e2e
  source: {selector: {matchLabels: {of: one-application}}}
`

// inTurn writes a number to one volume, then to the other, each flushed.
const inTurn = `trap exit TERM
n=0
while :; do
	n=$((n + 1))
	for volume in /data /other; do
		{ echo $n >>$volume/numbers && sync $volume/numbers; } || echo "write $n" >>/tmp/errors
	done
	sleep 0.02
done`

// Two volumes of one application are cut at one instant while it writes to both:
// what it writes second is never ahead of what it writes first, nor more than one
// behind.
func TestGroupSnapshot(t *testing.T) {
	s := begin(t)
	s.Class("hostvol-e2e-image", map[string]string{"engine": "image"})
	image := cluster.OfClass("hostvol-e2e-image")
	s.Claim("first", "64Mi", image)
	s.Claim("second", "64Mi", image)
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := cluster.Kubectl(append([]string{"-n", s.Namespace}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	kubectl("label", "pvc", "first", "second", "of=one-application")
	s.Pod("writer", "first", cluster.WithClaim("second", "/other"), cluster.Running(inTurn))
	s.Ready("writer")
	s.In("writer", "until [ $(wc -l </other/numbers) -gt 3 ]; do sleep 0.1; done 2>/dev/null")
	file := filepath.Join(t.TempDir(), "groups.yaml")
	if err := os.WriteFile(file, []byte(groups), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := cluster.Kubectl("delete", "volumegroupsnapshotclass", "hostvol-e2e", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	})
	kubectl("apply", "-f", file)
	cluster.Eventually(t, 2*time.Minute, "group ready", func(context.Context) string {
		status := kubectl("get", "volumegroupsnapshot", "cut", "-o", "jsonpath={.status}")
		if strings.Contains(status, `"readyToUse":true`) {
			return ""
		}
		return "its status is " + status
	})
	members := map[string]string{}
	cluster.Eventually(t, time.Minute, "two members", func(context.Context) string {
		list := kubectl("get", "volumesnapshots", "-o", `jsonpath={range .items[*]}{.spec.source.persistentVolumeClaimName}={.metadata.name}{"\n"}{end}`)
		for _, line := range strings.Fields(list) {
			claim, name, _ := strings.Cut(line, "=")
			members[claim] = name
		}
		if members["first"] == "" || members["second"] == "" {
			return "there are " + list
		}
		return ""
	})
	t.Logf("members: %v\n%s", members, s.Hostvol("n1", "snapshots"))
	for claim, name := range members {
		s.SnapshotReady(name)
		s.Claim("from-"+claim, "64Mi", image, cluster.From("VolumeSnapshot", name))
	}
	s.Pod("reader", "from-first", cluster.WithClaim("from-second", "/other"))
	s.Ready("reader")
	s.In("reader", `first=$(wc -l </data/numbers) second=$(wc -l </other/numbers)
		[ $first = $second ] || [ $first = $((second + 1)) ] || { echo first $first, second $second; exit 1; }`)
	t.Log(s.In("reader", "wc -l /data/numbers /other/numbers"))
	if errors := s.In("writer", "head -n 3 /tmp/errors 2>/dev/null || true"); errors != "" {
		t.Errorf("the writer met errors: %s", errors)
	}
	s.DeletePod("reader")
	kubectl("delete", "volumegroupsnapshot", "cut")
	first := s.Bound("first", time.Minute).Name
	cluster.Eventually(t, time.Minute, "members gone", func(context.Context) string {
		if listed := s.Hostvol("n1", "snapshots"); strings.Contains(listed, first) {
			return listed
		}
		return ""
	})
}
