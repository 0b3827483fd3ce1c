// Package rights compares what the sidecars asked of the apiserver, in all e2e
// tests that ran before, with what the manifests allow them: nothing was
// refused, and nothing is allowed that was not used, unless the manifest calls
// it rare and says when it is needed. It runs last.
package rights

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// Nothing that a sidecar asked for was forbidden.
func TestNothingWasRefused(t *testing.T) {
	requests, err := cluster.Requests()
	if err != nil {
		t.Fatal(err)
	}
	denied := func(r cluster.Request) bool { return r.Code == 401 || r.Code == 403 }
	allowed := map[string]bool{}
	for _, r := range requests {
		if !denied(r) {
			allowed[r.Part+": "+r.Right()] = true
		}
	}
	refused := map[string][]cluster.Request{}
	for _, r := range requests {
		// An apiserver that starts refuses what it allows a moment later; what it never allows it lacks.
		if denied(r) && (r.Form != cluster.NoForm || !allowed[r.Part+": "+r.Right()]) {
			what := fmt.Sprintf("%s: %s may not %s (%s)", r.Form, r.Part, r.Right(), r.Namespace)
			refused[what] = append(refused[what], r)
		}
	}
	for what, those := range refused {
		t.Errorf("%s: %d times, first at %s: %d %s", what, len(those), those[0].At.Format(time.RFC3339Nano), those[0].Code, those[0].Reason)
	}
	if len(requests) < 100 {
		t.Errorf("only %d requests: run this after the other tests", len(requests))
	}
}

// No right is given that was not used.
func TestNoRightIsUnused(t *testing.T) {
	for _, form := range []string{"distributed", "single"} {
		t.Run(form, func(t *testing.T) {
			requests, err := cluster.RequestsOf(form)
			if err != nil {
				t.Fatal(err)
			}
			used := map[string]bool{}
			for _, r := range requests {
				used[r.Part+": "+r.Right()] = true
			}
			rights := rightsIn(t, filepath.Join("deploy/kubernetes", form, "core/rbac.yaml"))
			rights = append(rights, rightsIn(t, "deploy/kubernetes/components/snapshots/common/rbac.yaml")...)
			rare := 0
			for _, r := range rights {
				switch {
				case r.rare:
					rare++
				case !used[r.part+": "+r.text]:
					t.Errorf("%s may %s and never did; take it away, or say in the manifest when it is needed (\"rare: …\")", r.part, r.text)
				}
			}
			t.Logf("%d rights, of which %d are rare", len(rights), rare)
		})
	}
}

// right is one verb on one resource.
type right struct {
	part, text string
	rare       bool
}

// role is a Role or ClusterRole with its comments.
type role struct {
	Kind     string
	Metadata struct{ Name string }
	Rules    []struct {
		APIGroups []string  `yaml:"apiGroups"`
		Resources []string  `yaml:"resources"`
		Verbs     yaml.Node `yaml:"verbs"`
	}
}

// rightsIn reads the roles of a manifest, which are named for the sidecars.
func rightsIn(t *testing.T, path string) []right {
	t.Helper()
	file, err := os.Open(filepath.Join(cluster.Root(), path))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []right
	for d := yaml.NewDecoder(file); ; {
		var r role
		if err := d.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains([]string{"Role", "ClusterRole"}, r.Kind) {
			continue
		}
		// hostvol-provisioner and hostvol-provisioner-snapshots are both csi-provisioner's.
		part := "csi-" + strings.Split(r.Metadata.Name, "-")[1]
		for _, rule := range r.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					if group != "" {
						resource += "." + group
					}
					for _, verb := range rule.Verbs.Content {
						all = append(all, right{part, verb.Value + " " + resource, strings.Contains(strings.ToLower(verb.LineComment), "rare:")})
					}
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no roles", path)
	}
	return all
}
