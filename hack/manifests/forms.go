package main

// form is one way to deploy: a kustomization, and the chart's values that mean the same.
type form struct {
	name string
	// directory of deploy/kubernetes, or the kustomization of an overlay as a user would write it in overlays/test.
	directory, overlay string
	// settings is the overlay's settings.yaml.
	settings string
	values   values
}

type values = map[string]any

var off = values{"enabled": false}

var forms = []form{
	{name: "distributed", directory: "distributed", values: values{}},
	{name: "distributed/core", directory: "distributed/core", values: values{"snapshots": off}},
	{name: "single", directory: "single", values: values{"mode": "single"}},
	{name: "single/core", directory: "single/core", values: values{"mode": "single", "snapshots": off}},
	{name: "overlays/k3s", directory: "overlays/k3s", values: values{}},
	{name: "overlays/microk8s", directory: "overlays/microk8s", values: values{"kubeletDir": "/var/snap/microk8s/common/var/lib/kubelet"}},
	{name: "overlays/k0s", directory: "overlays/k0s", values: values{"kubeletDir": "/var/lib/k0s/kubelet"}},
	{name: "overlays/talos", directory: "overlays/talos", values: values{
		"pools": []any{values{"name": "default", "path": "/var/mnt/hostvol", "create": true, "requireMount": true}},
	}},
	{
		name:    "distributed with FlexVolume",
		overlay: "resources: [../../distributed, ../../../flexvolume]\ncomponents: [../../components/flexvolume]\n",
		values:  values{"flexVolume": values{"enabled": true}},
	},
	{
		name: "single/core with FlexVolume and other directories",
		overlay: "resources: [../../single/core, ../../../flexvolume, settings.yaml]\ncomponents: [../../components/flexvolume, " +
			"../../components/kubelet-dir, ../../../flexvolume/components/kubelet-dir, ../../../flexvolume/components/plugin-dir]\n",
		settings: flexSettings,
		values:   values{"mode": "single", "snapshots": off, "kubeletDir": "/data/kubelet", "flexVolume": values{"enabled": true, "pluginDir": "/data/plugins"}},
	},
	{
		name:    "distributed/core with SELinux and FlexVolume, which is removed",
		overlay: "resources: [../../distributed/core, ../../../flexvolume/remove]\ncomponents: [../../components/flexvolume, ../../components/selinux]\n",
		values:  values{"snapshots": off, "selinux": values{"enabled": true}, "flexVolume": values{"enabled": true, "remove": true}},
	},
	{
		name:    "distributed/core with directories for static and for FlexVolume volumes",
		overlay: rootsOverlay,
		values: values{
			"snapshots": off, "config": values{"staticRoots": []any{"/srv/static", "/srv/both"}},
			"flexVolume": values{"enabled": true, "pools": []any{}, "roots": []any{"/srv/both", "/srv/old"}},
		},
	},
	{
		name:    "distributed with inline volumes and SELinux",
		overlay: "resources: [../../distributed]\ncomponents: [../../components/inline, ../../components/selinux]\n",
		values:  values{"inline": values{"enabled": true}, "selinux": values{"enabled": true}},
	},
	{
		name:     "single/core with inline volumes and another kubelet directory",
		overlay:  "resources: [../../single/core, settings.yaml]\ncomponents: [../../components/inline, ../../components/kubelet-dir]\n",
		settings: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: hostvol-settings\n  annotations: {config.kubernetes.io/local-config: \"true\"}\ndata: {kubeletDir: /data/kubelet}\n",
		values:   values{"mode": "single", "snapshots": off, "inline": values{"enabled": true}, "kubeletDir": "/data/kubelet"},
	},
}

const rootsOverlay = `resources: [../../distributed/core, ../../../flexvolume]
configMapGenerator:
- name: hostvol-config
  namespace: hostvol-system
  behavior: replace
  literals:
  - |
    config.yaml=
    pools: [{name: default, path: /var/lib/hostvol, create: true}]
    staticRoots: [/srv/static, /srv/both]
    flex: {pools: [], roots: [/srv/both, /srv/old]}
patches:
- patch: |-
    apiVersion: apps/v1
    kind: DaemonSet
    metadata: {name: hostvol, namespace: hostvol-system}
    spec:
      template:
        spec:
          containers:
          - name: hostvol
            volumeMounts:
            - {name: static-0, mountPath: /srv/static, mountPropagation: HostToContainer}
            - {name: static-1, mountPath: /srv/both, mountPropagation: HostToContainer}
            - {name: static-2, mountPath: /srv/old, mountPropagation: HostToContainer}
          volumes:
          - {name: static-0, hostPath: {path: /srv/static, type: DirectoryOrCreate}}
          - {name: static-1, hostPath: {path: /srv/both, type: DirectoryOrCreate}}
          - {name: static-2, hostPath: {path: /srv/old, type: DirectoryOrCreate}}
`
