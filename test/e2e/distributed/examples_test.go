package distributed

import (
	"path/filepath"
	"testing"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// The examples of volumes that are images work as they are.
func TestExamples(t *testing.T) {
	for file, pod := range map[string]string{"block-volume": "raw", "image-volumes": "images"} {
		t.Run(file, func(t *testing.T) {
			s := begin(t)
			path := filepath.Join("deploy/examples", file+".yaml")
			if _, err := cluster.Kubectl("-n", s.Namespace, "apply", "-f", path); err != nil {
				t.Fatal(err)
			}
			s.Ready(pod)
			switch pod {
			case "raw":
				s.In(pod, "echo hello | dd of=/dev/data conv=fsync && blockdev --getsize64 /dev/data")
			case "images":
				s.In(pod, "echo hello >/files/file && echo hello >/database/file && sync && grep -E ' /(files|database) ' /proc/mounts")
			}
			if _, err := cluster.Kubectl("-n", s.Namespace, "delete", "--wait=false", "-f", path); err != nil {
				t.Fatal(err)
			}
		})
	}
}
