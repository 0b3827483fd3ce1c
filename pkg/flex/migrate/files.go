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

// files are the names of the objects' files.
func (p *Plan) files() map[string]string {
	names := map[string]string{}
	for n, o := range p.made() {
		name := o.name()
		if o.namespace() != "" {
			name = o.namespace() + "-" + name
		}
		names[o.ref()] = fmt.Sprintf("%02d-%s-%s.yaml", n+1, short(o.kind()), shorten(name, 150))
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

// written begins each manifest, so that a later plan knows an earlier one's.
const written = "# Written by hostvol-flex migrate; the next plan for this directory replaces it.\n"

// Write writes the manifests and a README with the steps into a directory, which
// it makes. The manifests of an earlier plan go. Pods can carry secrets in their
// environment, so only the owner reads them.
func (p *Plan) Write(dir, kubectl string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files := p.files()
	for _, o := range p.made() {
		data, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		if err := put(filepath.Join(dir, files[o.ref()]), append([]byte(written), data...)); err != nil {
			return err
		}
	}
	if err := sweep(dir, files); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# From FlexVolume to CSI\n\nThe steps, in their order; the commands are run in this directory. Each can be repeated until it succeeds.\n\n```\n")
	if err := p.Print(&b, kubectl); err != nil {
		return err
	}
	b.WriteString("```\n")
	return put(filepath.Join(dir, "README.md"), []byte(b.String()))
}

// sweep removes the manifests of an earlier plan: what it said may be done by now.
func sweep(dir string, keep map[string]string) error {
	old, err := filepath.Glob(filepath.Join(dir, "[0-9][0-9]*-*.yaml"))
	if err != nil {
		return err
	}
	now := slices.Collect(maps.Values(keep))
	for _, path := range old {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if slices.Contains(now, filepath.Base(path)) || !strings.HasPrefix(string(data), written) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
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
