package migrate

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Plans and manifests are as they were when a person looked at them last;
// HOSTVOL_GOLDEN=write writes them anew.
func TestPlans(t *testing.T) {
	for name, options := range map[string]Options{
		"ugly":    {NodeOf: map[string]string{"twin": "n1", "bare": "n1"}},
		"shares":  {},
		"inline":  {NodeOf: map[string]string{"nightly": "n3"}, SizeOf: map[string]string{"logs": "5Gi"}},
		"cluster": {SizeOf: map[string]string{"pictures": "5Gi"}},
	} {
		t.Run(name, func(t *testing.T) {
			options.Driver, options.Distributed = "hostvol.csi.io", true
			objects := load(t, name+".yaml")
			dir := t.TempDir()
			plan := New(options, objects)
			must(t, plan.Write(dir, "kubectl"))
			got := all(t, dir)
			golden := filepath.Join("testdata", name+".golden")
			if os.Getenv("HOSTVOL_GOLDEN") == "write" {
				must(t, os.WriteFile(golden, got, 0o600))
			}
			want, err := os.ReadFile(golden)
			must(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("the plan differs from %s:\n%s", golden, got)
			}
			if strings.Contains(string(got), "hunter2") || strings.Contains(string(got), "secret value") {
				t.Error("it shows a secret")
			}
			slices.Reverse(objects)
			again := t.TempDir()
			must(t, New(options, objects).Write(again, "kubectl"))
			if !bytes.Equal(all(t, again), want) {
				t.Error("another order of the objects has another plan")
			}
		})
	}
}

// A later plan takes the place of an earlier one, and of nothing else.
func TestPlanAgain(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "07-mine.yaml")
	must(t, os.WriteFile(mine, []byte("kind: Pod\n"), 0o600))
	must(t, New(Options{Driver: "d"}, load(t, "ugly.yaml")).Write(dir, "kubectl"))
	must(t, New(Options{Driver: "d"}, nil).Write(dir, "kubectl"))
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	must(t, err)
	if !slices.Equal(names, []string{mine}) {
		t.Errorf("%v", names)
	}
}

// What a person has deleted as an earlier plan said is created from that plan's
// manifests, also when a later plan knows nothing of it.
func TestPlanKeepsPods(t *testing.T) {
	bare := func(namespace, name string) Object {
		return Object{
			"kind": kindPod, "apiVersion": "v1", "metadata": map[string]any{"name": name, "namespace": namespace, "uid": name + "-uid", "labels": map[string]any{"of": namespace}},
			"spec": map[string]any{"nodeName": "n1", "volumes": []any{map[string]any{"name": "w", "flexVolume": map[string]any{"driver": "hostvol/local", "options": map[string]any{"volume": namespace, "size": "1Gi"}}}}},
		}
	}
	job := bare("a", "job")
	job.set("Job", "kind")
	job["spec"] = map[string]any{"template": map[string]any{"spec": job["spec"]}}
	dir := t.TempDir()
	options := Options{Driver: "d"}
	must(t, New(options, []Object{bare("a", "bare"), bare("a", "b-bare"), bare("a-b", "bare"), job}).Write(dir, "kubectl"))
	before := string(all(t, dir))
	must(t, New(options, []Object{bare("b", "other")}).Write(dir, "kubectl"))
	after := string(all(t, dir))
	for name, want := range map[string]string{"pod-a_bare.yaml": "of: a\n", "pod-a_b-bare.yaml": "of: a\n", "pod-a-b_bare.yaml": "of: a-b\n", "job-a_job.yaml": "of: a\n"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(data), want) || !strings.Contains(string(data), "claimName: flex-a-") {
			t.Errorf("%s: %v: %s", name, err, data)
		}
		if strings.Contains(before, "- "+name) || !strings.Contains(after, "- "+name) {
			t.Errorf("the README does not tell of %s:\n%s", name, after)
		}
	}
	for _, name := range []string{"pod-bare-bare-uid.yaml", "job-job-job-uid.yaml", "pod-other-other-uid.yaml"} {
		if data, err := os.ReadFile(filepath.Join(dir, "saved", name)); err != nil || !strings.Contains(string(data), "flexVolume") {
			t.Errorf("%s: %v: %s", name, err, data)
		}
	}
	if volumes, err := filepath.Glob(filepath.Join(dir, "*-pv*.yaml")); err != nil || len(volumes) != 2 {
		t.Errorf("%v %v", volumes, err)
	}
}

// What was migrated for one namespace is not given to another one later; a repeat
// for the same namespace goes on.
func TestOneHandleInTwoRuns(t *testing.T) {
	var pods []Object
	for _, namespace := range []string{"a", "b"} {
		pods = append(pods, Object{
			"kind": kindPod, "apiVersion": "v1", "metadata": map[string]any{"name": "pod", "namespace": namespace},
			"spec": map[string]any{"volumes": []any{map[string]any{"name": "w", "flexVolume": map[string]any{"driver": "hostvol/local", "options": map[string]any{"volume": "shared", "size": "1Gi"}}}}},
		})
	}
	first := New(Options{Driver: "d", Namespaces: []string{"a"}}, pods)
	if len(first.Items) != 1 || len(first.Refused) != 0 {
		t.Fatalf("%v %v", first.Items, first.Refused)
	}
	there := append(pods, first.Items[0].Volume, first.Items[0].Claim)
	if again := New(Options{Driver: "d", Namespaces: []string{"a"}}, there); len(again.Items) != 1 || len(again.Refused) != 0 {
		t.Errorf("a repeat: %v", again.Refused)
	}
	other := New(Options{Driver: "d", Namespaces: []string{"b"}}, there)
	if len(other.Items) != 0 || len(other.Refused) != 1 || !strings.Contains(other.Refused[0].Why, first.Items[0].Volume.ref()+", which is there already") {
		t.Errorf("%v %v", other.Items, other.Refused)
	}
}

// all is what is in a directory.
func all(t *testing.T, dir string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	slices.SortFunc(names, func(x, y string) int { // the README first
		return cmp.Or(btoi(filepath.Base(y) == "README.md")-btoi(filepath.Base(x) == "README.md"), cmp.Compare(x, y))
	})
	var b bytes.Buffer
	for _, n := range names {
		if filepath.Base(n) == "saved" {
			continue
		}
		data, err := os.ReadFile(n)
		must(t, err)
		b.WriteString("==== " + filepath.Base(n) + "\n")
		b.Write(data)
	}
	return b.Bytes()
}

// Without a node, single mode writes no affinity, and a handle without a tag.
func TestSingleMode(t *testing.T) {
	p := New(Options{Driver: "d"}, load(t, "ugly.yaml"))
	for _, i := range p.Items {
		if i.From.name() == "where" {
			if handleOf(i.Volume) != "d where" || i.Volume.at("spec", "nodeAffinity") != nil || !strings.Contains(strings.Join(i.Warnings, ""), "no node is known") {
				t.Errorf("%v %v", i.Volume, i.Warnings)
			}
			return
		}
	}
	t.Errorf("it is not there: %v", p.Refused)
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{
		"kind: Pod\nmetadata: {name: ../../etc}\n", "kind: Pod\n", "a: b\n", "hello\n", "kind: Pod\nkind: Pod\nmetadata: {name: a}\n",
		"kind: PersistentVolume\nmetadata: {name: \"a; rm\"}\n", "{", "[1]", "kind: Pod\nmetadata: {name: a, namespace: A}\n", "kind: Pod\nmetadata: {name: a, namespace: 1}\n",
	} {
		if objects, err := Read("x", []byte(text)); err == nil {
			t.Errorf("%q: %v", text, objects)
		}
	}
	for _, text := range []string{"", "---\n---\n", "# nothing\n", "kind: Secret\nmetadata: {name: S}\n"} {
		if objects, err := Read("x", []byte(text)); err != nil || len(objects) > 0 {
			t.Errorf("%q: %v %v", text, objects, err)
		}
	}
}

func TestQuantities(t *testing.T) {
	for s, want := range map[string]string{
		"1": "1", "1Ki": "1024", "1.5Gi": "1610612736", "1k": "1000", "2E": "2000000000000000000", "1e3": "1000", "1E3": "1000", "500m": "1/2", "1e+2": "100", "12e-1": "6/5", "1M": "1000000", "1Ei": "1152921504606846976",
	} {
		if r, err := parseQuantity(s); err != nil || r.RatString() != want {
			t.Errorf("%s: %v %v", s, r, err)
		}
	}
	for _, s := range []string{"", "Gi", "1GB", "-1", "0", "1 Gi", "1e", "1e1000000000", "0x10", "1/2", "1.2.3", "1e2Gi", "NaN", "1KiKi"} {
		if r, err := parseQuantity(s); err == nil {
			t.Errorf("%q is %s", s, r)
		}
	}
}
