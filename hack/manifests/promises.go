package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	storage "k8s.io/api/storage/v1"
)

// images tells which version of hack/versions.env a container has.
var images = map[string]string{
	"hostvol":               "HOSTVOL_IMAGE",
	"hostvol-flex":          "HOSTVOL_IMAGE",
	"uninstall":             "HOSTVOL_IMAGE", // of hostvol-flex
	"node-driver-registrar": "NODE_DRIVER_REGISTRAR_IMAGE",
	"csi-provisioner":       "CSI_PROVISIONER_IMAGE",
	"csi-attacher":          "CSI_ATTACHER_IMAGE",
	"csi-resizer":           "CSI_RESIZER_IMAGE",
	"csi-snapshotter":       "CSI_SNAPSHOTTER_IMAGE",
}

// promises checks what docs/install.md says of every form.
func (r *report) promises(where string, all objects, pinned versions) {
	pods := 0
	for key, object := range all {
		where := where + ", " + key
		switch o := object.(type) {
		case *apps.DaemonSet:
			if o.Name != "hostvol-flex" { // which may lie beside it
				pods++
			}
			r.pod(where, o.Spec.Template.Spec, pinned)
		case *apps.StatefulSet:
			pods++
			r.pod(where, o.Spec.Template.Spec, pinned)
		case *rbac.ClusterRole:
			r.rules(where, o.Rules)
		case *rbac.Role:
			r.rules(where, o.Rules)
		case *storage.StorageClass:
			r.class(where, o)
		}
	}
	if pods != 1 {
		r.fault(where, "%d kinds of pods, 1 is wanted", pods)
	}
}

func (r *report) class(where string, class *storage.StorageClass) {
	if class.Parameters["csi.storage.k8s.io/fstype"] != "" && class.Parameters["engine"] != "image" {
		r.fault(where, "the driver refuses a filesystem type, but for images")
	}
	if class.VolumeBindingMode == nil || *class.VolumeBindingMode != storage.VolumeBindingWaitForFirstConsumer {
		r.fault(where, "a local volume must wait for its pod's node")
	}
}

// examples decodes what docs/install.md has people apply.
func (r *report) examples(repository string) error {
	files, err := filepath.Glob(filepath.Join(repository, "deploy/examples/*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for key, object := range r.decode("examples, "+filepath.Base(file), string(text)) {
			if class, ok := object.(*storage.StorageClass); ok {
				r.class("examples, "+key, class)
			}
		}
	}
	return nil
}

func (r *report) pod(where string, pod core.PodSpec, pinned versions) {
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		r.fault(where, "the token would be mounted into every container")
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		r.fault(where, "a namespace of the node is used")
	}
	ports := map[int32]string{}
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		r.container(where+", "+c.Name, c, pinned)
		for _, p := range c.Ports {
			if ports[p.ContainerPort] != "" {
				r.fault(where, "port %d is used by %s and %s", p.ContainerPort, ports[p.ContainerPort], c.Name)
			}
			ports[p.ContainerPort] = c.Name
		}
	}
}

func (r *report) container(where string, c core.Container, pinned versions) {
	if want := pinned[images[c.Name]]; c.Image != want {
		r.fault(where, "image %s is not %q of hack/versions.env", c.Image, want)
	}
	if c.ImagePullPolicy != core.PullIfNotPresent {
		r.fault(where, "imagePullPolicy is %q", c.ImagePullPolicy)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
		r.fault(where, "resource requests are missing")
	}
	for _, arg := range c.Args {
		if strings.HasPrefix(arg, "--default-fstype") {
			r.fault(where, "directories would be asked for a filesystem type: %s", arg)
		}
	}
	s := c.SecurityContext
	if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		r.fault(where, "the root filesystem is writable")
	}
	token := slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == "api" })
	privileged := s != nil && s.Privileged != nil && *s.Privileged
	if c.Name == "hostvol" {
		if token || !privileged {
			r.fault(where, "the driver is privileged and has no token; here: %t, token %t", privileged, token)
		}
		return
	}
	if privileged || s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
		s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		r.fault(where, "a sidecar has more power than it needs")
	}
	for _, m := range c.VolumeMounts {
		if m.MountPath == "/kubelet" && m.ReadOnly { // of hostvol-flex uninstall, which looks what is mounted
			continue
		}
		if m.MountPropagation != nil || m.Name == "kubelet" && m.SubPath == "" {
			r.fault(where, "a sidecar sees more of the node than it needs: %s", m.MountPath)
		}
	}
}

func (r *report) rules(where string, rules []rbac.PolicyRule) {
	for _, rule := range rules {
		for _, word := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs) {
			if word == "*" || word == "secrets" {
				r.fault(where, "%q is granted", word)
			}
		}
	}
}

// texts checks what only people read: every right is explained, and the versions in words are the pinned ones.
func (r *report) texts(repository string, pinned versions) {
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			r.fault(name, "%v", err)
		}
		return string(content)
	}
	reviewed := map[string][]string{
		"deploy/kubernetes/distributed/core/rbac.yaml":            {"provisioner", "resizer"},
		"deploy/kubernetes/single/core/rbac.yaml":                 {"provisioner", "attacher", "resizer"},
		"deploy/kubernetes/components/snapshots/common/rbac.yaml": {"snapshotter", "provisioner"},
	}
	for name, sidecars := range reviewed {
		text := read(name)
		for _, s := range sidecars {
			want := "external-" + s + " " + pinned.tag("CSI_"+strings.ToUpper(s)+"_IMAGE")
			if !strings.Contains(text, want) {
				r.fault(name, "it was not written from %s: read that version's source, then say so", want)
			}
		}
		for i, rule := range strings.Split(text, "\n- apiGroups:")[1:] {
			if rule, _, _ = strings.Cut(rule, "\n---"); !strings.Contains(rule, "#") {
				r.fault(name, "rule %d does not say what needs it", i+1)
			}
		}
	}
	compatibility := read("docs/compatibility.md")
	for _, name := range images {
		if name != "HOSTVOL_IMAGE" && !strings.Contains(compatibility, pinned[name]) {
			r.fault("docs/compatibility.md", "%s is not named", pinned[name])
		}
	}
}
