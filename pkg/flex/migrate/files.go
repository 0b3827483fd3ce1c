package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// made are the objects that the plan writes, in order.
func (p *Plan) made() []Object {
	var all []Object
	for _, i := range p.Items {
		all = append(all, i.Volume, i.Claim)
	}
	for _, r := range p.Rewrites {
		all = append(all, r.New)
	}
	return all
}

// files are the names of the objects' files. Those of volumes and claims have the
// place in the order in front. Those of pods and workloads are the same in every
// plan; names of the API have no "_", so two objects never share one.
func (p *Plan) files() map[string]string {
	names := map[string]string{}
	for n, o := range p.made() {
		switch name := o.name(); o.kind() {
		case kindVolume:
			names[o.ref()] = fmt.Sprintf("%02d-pv-%s.yaml", n+1, shorten(name, 150))
		case kindClaim:
			names[o.ref()] = fmt.Sprintf("%02d-pvc-%s.yaml", n+1, shorten(o.namespace()+"-"+name, 150))
		default:
			names[o.ref()] = fmt.Sprintf("%s-%s.yaml", short(o.kind()), shorten(o.namespace()+"_"+name, 150))
		}
	}
	return names
}

func short(kind string) string {
	switch kind {
	case kindVolume:
		return "pv"
	case kindClaim:
		return "pvc"
	}
	return strings.ToLower(kind)
}

// How manifests begin, so that a later plan knows an earlier one's.
const (
	// written: a volume or claim, which a later plan has again while it matters.
	written = "# Written by hostvol-flex migrate; the next plan for this directory replaces it.\n"
	// lasting: a pod or workload. Once its old object is deleted, it is nowhere else.
	lasting = "# Written by hostvol-flex migrate; it stays until you remove it.\n"
)

// Write writes the manifests and a README with the steps into a directory, which
// it makes. The volumes and claims of an earlier plan go; its pods and workloads
// stay, and the old ones that a person is told to delete are kept in saved. Pods
// can carry secrets in their environment, so only the owner reads them.
func (p *Plan) Write(dir, kubectl string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, r := range p.Rewrites {
		if r.How == byPatch {
			continue
		}
		if _, err := save(dir, r.Old); err != nil {
			return err
		}
	}
	files := p.files()
	for _, o := range p.made() {
		data, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		head := lasting
		if o.kind() == kindVolume || o.kind() == kindClaim {
			head = written
		}
		if err := put(filepath.Join(dir, files[o.ref()]), append([]byte(head), data...)); err != nil {
			return err
		}
	}
	earlier, err := sweep(dir, files)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# From FlexVolume to CSI\n\nThe steps, in their order; the commands are run in this directory. Each can be repeated until it succeeds.\n\n```\n")
	if err := p.Print(&b, kubectl); err != nil {
		return err
	}
	b.WriteString("```\n")
	if len(earlier) > 0 {
		b.WriteString("\nOf an earlier plan, and not in this one; create from them what you have deleted:\n\n")
		for _, name := range earlier {
			b.WriteString("- " + name + "\n")
		}
	}
	return put(filepath.Join(dir, "README.md"), []byte(b.String()))
}

// sweep removes the volumes and claims of an earlier plan: what it said may be done
// by now. It returns the files of that plan's pods and workloads.
func sweep(dir string, keep map[string]string) ([]string, error) {
	old, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	now := slices.Collect(maps.Values(keep))
	var stay []string
	for _, path := range old {
		name := filepath.Base(path)
		if slices.Contains(now, name) {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		switch _, rest, _ := strings.Cut(name, "-"); {
		case strings.HasPrefix(string(data), lasting):
			stay = append(stay, name)
		case !strings.HasPrefix(string(data), written) || !strings.HasPrefix(rest, "pv-") && !strings.HasPrefix(rest, "pvc-"):
		default:
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	return stay, nil
}

// save keeps an object in a file of the directory for good. What was saved first
// stays: it is the object before anything was done.
func save(dir string, o Object) (string, error) {
	id := o.uid()
	if !validName(strings.ToLower(id)) {
		id = digest(o.ref())
	}
	path := filepath.Join(dir, "saved", fmt.Sprintf("%s-%s-%s.yaml", short(o.kind()), shorten(o.name(), 150), shorten(id, 50)))
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return path, err
	}
	data, err := yaml.Marshal(o)
	if err != nil {
		return path, err
	}
	return path, put(path, data)
}

// put replaces a file as a whole, and for good.
func put(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
