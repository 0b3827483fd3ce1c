// Command manifests checks deploy/kubernetes and deploy/helm without a cluster.
//
// It renders every kustomization and the chart with the same meaning, decodes each object strictly as its API type,
// compares the two object by object, and looks for what this project promises of them: pinned versions, one
// privileged container that has no token, sidecars without capabilities, rights that are named and explained.
package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// report collects faults; check goes on after one, so that one run shows all.
type report struct {
	faults []string
	// places are where each fault was found.
	places map[string][]string
}

func (r *report) fault(where, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if r.places[text] == nil {
		r.faults = append(r.faults, text)
	}
	if !slices.Contains(r.places[text], where) {
		r.places[text] = append(r.places[text], where)
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manifests REPOSITORY")
		os.Exit(2)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // helm talks
	r := &report{places: map[string][]string{}}
	if err := r.check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
	for _, f := range r.faults {
		fmt.Println(f)
		for _, place := range r.places[f] {
			fmt.Println("    in", place)
		}
	}
	if len(r.faults) > 0 {
		os.Exit(1)
	}
}

func (r *report) check(repository string) error {
	pinned, err := readVersions(filepath.Join(repository, "hack/versions.env"))
	if err != nil {
		return err
	}
	tree, err := copyTree(filepath.Join(repository, "deploy"))
	if err != nil {
		return err
	}
	c, err := loadChart(filepath.Join(repository, "deploy/helm/hostvol"))
	if err != nil {
		return err
	}
	for _, f := range forms {
		kustomized, err := kustomize(tree, f)
		if err != nil {
			return fmt.Errorf("kustomize, %s: %w", f.name, err)
		}
		templated, err := c.render(f.values)
		if err != nil {
			return fmt.Errorf("helm, %s: %w", f.name, err)
		}
		k, h := r.decode("kustomize, "+f.name, kustomized), r.decode("helm, "+f.name, templated)
		r.promises("kustomize, "+f.name, k, pinned)
		r.compare(f.name, k, h)
	}
	if err := r.flexVolume(tree, pinned); err != nil {
		return err
	}
	if err := r.examples(repository); err != nil {
		return err
	}
	r.chart(c, pinned)
	r.texts(repository, pinned)
	return nil
}
