package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The check can fail: each of these edits is found, by the words that are given. `make lint` runs the check, not this.
func TestFaultsAreFound(t *testing.T) {
	for name, edit := range map[string]struct{ file, old, with, words string }{
		"another version pinned":       {"hack/versions.env", "csi-resizer:v2.3.0", "csi-resizer:v9", "csi-resizer:v9"},
		"a version in the docs":        {"docs/compatibility.md", "csi-provisioner:v6.3.0", "csi-provisioner:v6", "is not named"},
		"the chart's version":          {"deploy/helm/hostvol/Chart.yaml", "appVersion: v0", "appVersion: v9", "appVersion"},
		"a flag":                       {"deploy/helm/hostvol/templates/driver.yaml", "--worker-threads=100", "--worker-threads=1", "--worker-threads=1"},
		"a field that does not exist":  {"deploy/kubernetes/distributed/core/daemonset.yaml", "terminationGracePeriodSeconds", "graceSeconds", "graceSeconds"},
		"a right too few":              {"deploy/kubernetes/single/core/rbac.yaml", "  - delete # a volume", "  # a volume", "hostvol-provisioner.rules[0].verbs"},
		"a right without a reason":     {"deploy/kubernetes/single/core/rbac.yaml", "  - get    # rare: clone of a claim, getPVCSource", "  - get", "does not say what needs it"},
		"secrets":                      {"deploy/kubernetes/single/core/rbac.yaml", "[volumeattachments/status]", "[secrets]", `"secrets" is granted`},
		"the configuration":            {"deploy/kubernetes/base/config.yaml", "create: true", "create: false", "config.yaml"},
		"a token for all":              {"deploy/kubernetes/single/core/statefulset.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "token"},
		"a sidecar with capabilities":  {"deploy/kubernetes/components/snapshots/single/snapshotter.yaml", "- ALL", "- KILL", "more power"},
		"a writable root":              {"deploy/kubernetes/distributed/core/daemonset.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "writable"},
		"a forgotten kubelet path":     {"deploy/kubernetes/components/kubelet-dir/kustomization.yaml", "    - spec.template.spec.containers.[name=node-driver-registrar].env.[name=KUBELET_DIR].value\n", "", "microk8s"},
		"no word about the CRDs":       {"deploy/helm/hostvol/templates/snapshots.yaml", `{{- fail "`, `{{- print "`, "snapshot CRDs is not refused"},
		"a value that is not refused":  {"deploy/helm/hostvol/values.schema.json", `"additionalProperties": false,`, `"additionalProperties": true,`, "unknown value is not refused"},
		"a class with a filesystem":    {"deploy/kubernetes/base/storageclasses.yaml", "allowVolumeExpansion: true\n---", "parameters: {csi.storage.k8s.io/fstype: xfs}\n---", "refuses a filesystem type"},
		"an old flex driver":           {"deploy/flexvolume/remove/kustomization.yaml", "hostvol:v0.1.0-dev", "hostvol:v0.0.1", "is not \"ghcr.io/hostvol"},
		"flex drivers with power":      {"deploy/flexvolume/base/daemonset.yaml", "- ALL", "- KILL", "more power"},
		"flex drivers on other nodes":  {"deploy/flexvolume/base/daemonset.yaml", "- operator: Exists", "- {operator: Exists, key: a}", "does not run where"},
		"a forgotten flex directory":   {"deploy/flexvolume/components/kubelet-dir/kustomization.yaml", "hostvol.csi.io/flexvolume=remove", "a=b", "/data/kubelet"},
		"flex of the chart differs":    {"deploy/helm/hostvol/templates/flexvolume.yaml", "minReadySeconds: 5", "minReadySeconds: 6", "minReadySeconds"},
		"flex pools of the chart":      {"deploy/helm/hostvol/values.yaml", "pools: [default]", "pools: []", "flex"},
		"flex directories unmounted":   {"deploy/helm/hostvol/templates/_helpers.tpl", "concat $paths", "concat", "static-"},
		"a class that binds too early": {"deploy/helm/hostvol/templates/common.yaml", "WaitForFirstConsumer", "Immediate", "volumeBindingMode"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := t.TempDir()
			for _, part := range []string{"deploy", "docs/compatibility.md", "hack/versions.env"} {
				copyTo(t, filepath.Join("../..", part), filepath.Join(tree, part))
			}
			path := filepath.Join(tree, edit.file)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(content), edit.old, edit.with, 1)
			if changed == string(content) {
				t.Fatalf("%s has no %q", edit.file, edit.old)
			}
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			r := &report{places: map[string][]string{}}
			if err := r.check(tree); err != nil {
				t.Fatal(err)
			}
			if found := strings.Join(r.faults, "\n"); !strings.Contains(found, edit.words) {
				t.Errorf("%q is not in: %s", edit.words, found)
			}
		})
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return
	}
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
