package migrate

import (
	"bytes"
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

// all is what is in a directory.
func all(t *testing.T, dir string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	slices.Reverse(names) // the README first
	slices.Sort(names[1:])
	var b bytes.Buffer
	for _, n := range names {
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
