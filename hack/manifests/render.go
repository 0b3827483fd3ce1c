package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const namespace = "hostvol-system"

// copyTree reads what kustomize builds of deploy into memory, so that overlays can be added without writing to the disk.
func copyTree(directory string) (filesys.FileSystem, error) {
	tree := filesys.MakeFsInMemory()
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(directory, path)
		if err != nil || strings.HasPrefix(rel, "helm/") {
			return err
		}
		return tree.WriteFile(filepath.Join("/", rel), content)
	})
	return tree, err
}

func kustomize(tree filesys.FileSystem, f form) (string, error) {
	directory := f.directory
	if f.overlay != "" {
		directory = "overlays/test"
		if err := tree.WriteFile("/kubernetes/overlays/test/kustomization.yaml", []byte(f.overlay)); err != nil {
			return "", err
		}
		if err := tree.WriteFile("/kubernetes/overlays/test/settings.yaml", []byte(f.settings)); err != nil {
			return "", err
		}
	}
	return build(tree, filepath.Join("/kubernetes", directory))
}

func build(tree filesys.FileSystem, directory string) (string, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(tree, directory)
	if err != nil {
		return "", err
	}
	text, err := resources.AsYaml()
	return string(text), err
}

type helmChart struct {
	directory string
	*chart.Chart
}

func loadChart(directory string) (helmChart, error) {
	c, err := loader.Load(directory)
	return helmChart{directory, c}, err
}

// render renders for a cluster that has the snapshot API.
func (c helmChart) render(v values) (string, error) {
	return c.renderFor(v, "snapshot.storage.k8s.io/v1", "snapshot.storage.k8s.io/v1/VolumeSnapshotClass")
}

func (c helmChart) renderFor(v values, apis ...string) (string, error) {
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.APIVersions = append(slices.Clone(capabilities.APIVersions), apis...)
	release := common.ReleaseOptions{Name: "hostvol", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(c.Chart, v, release, capabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(c.Chart, all)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			text.WriteString("---\n" + files[name] + "\n")
		}
	}
	return text.String(), nil
}

// chart checks what comparing cannot: helm's own lint, refusals, and the version.
func (r *report) chart(c helmChart, pinned versions) {
	for _, v := range []values{{}, {"mode": "single", "snapshots": off, "inline": values{"enabled": true}}} {
		for _, m := range lint.RunAll(c.directory, v, namespace).Messages {
			if m.Severity >= support.WarningSev {
				r.fault("helm lint", "%v", m)
			}
		}
	}
	for name, refused := range map[string]struct {
		values values
		word   string
	}{
		"a cluster without the snapshot CRDs": {values{}, "Install the snapshot CRDs"},
		"an unknown mode":                     {values{"mode": "both"}, "mode"},
		"an unknown value":                    {values{"kubeletdir": "/x"}, "kubeletdir"},
		"an unknown FlexVolume driver":        {values{"flexVolume": values{"enabled": true, "drivers": []any{"zfs"}}}, "drivers"},
		"an unknown field of a pool":          {values{"pools": []any{values{"name": "a", "path": "/a", "size": "1Gi"}}}, "size"},
	} {
		if _, err := c.renderFor(refused.values); err == nil || !strings.Contains(err.Error(), refused.word) {
			r.fault("helm", "%s is not refused with the word %q: %v", name, refused.word, err)
		}
	}
	if _, err := c.renderFor(values{"snapshots": off}); err != nil {
		r.fault("helm", "without snapshots the snapshot CRDs must not be needed: %v", err)
	}
	tag := pinned.tag("HOSTVOL_IMAGE")
	if c.Metadata.AppVersion != tag || c.Metadata.Version != strings.TrimPrefix(tag, "v") {
		r.fault("Chart.yaml", "version %s and appVersion %s are not those of %s", c.Metadata.Version, c.Metadata.AppVersion, pinned["HOSTVOL_IMAGE"])
	}
}

// versions is hack/versions.env.
type versions map[string]string

func readVersions(path string) (versions, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v := versions{}
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			v[name] = value
		}
	}
	var errs []error
	for _, name := range images {
		if v[name] == "" {
			errs = append(errs, fmt.Errorf("%s does not set %s", path, name))
		}
	}
	return v, errors.Join(errs...)
}

func (v versions) tag(name string) string { return v[name][strings.LastIndex(v[name], ":")+1:] }
