{{- define "hostvol.labels" -}}
app.kubernetes.io/name: hostvol
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The labels by which the pods are found; they never change. */}}
{{- define "hostvol.selector" -}}
app.kubernetes.io/name: hostvol
app.kubernetes.io/component: driver
{{- end }}

{{/* The daemon's configuration file. */}}
{{- define "hostvol.config" -}}
{{- $config := merge (dict "pools" .Values.pools) .Values.config }}
{{- if and .Values.flexVolume.enabled (has "local" .Values.flexVolume.drivers) }}
{{- $flex := dict "pools" .Values.flexVolume.pools }}
{{- if .Values.flexVolume.roots }}
{{- $_ := set $flex "roots" .Values.flexVolume.roots }}
{{- end }}
{{- $_ := set $config "flex" $flex }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* What is mounted into the driver's container besides the pools, as JSON: {"paths": […]}. */}}
{{- define "hostvol.roots" -}}
{{- $paths := .Values.config.staticRoots | default list }}
{{- if and .Values.flexVolume.enabled (has "local" .Values.flexVolume.drivers) }}
{{- $paths = concat $paths (.Values.flexVolume.roots | default list) | uniq }}
{{- end }}
{{- dict "paths" $paths | toJson }}
{{- end }}

{{/* A sidecar runs as root, since the sockets are for root only; with nothing that makes root mighty. */}}
{{- define "hostvol.sidecar" -}}
runAsUser: 0
runAsGroup: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
  - ALL
{{- end }}

{{- define "hostvol.sidecarMounts" -}}
- name: kubelet
  mountPath: /csi
  subPath: plugins/hostvol.csi.io
- name: api
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{/* hostvol.flex: (list . COMMAND FLAG), a container that installs or uninstalls the FlexVolume drivers. */}}
{{- define "hostvol.flex" -}}
{{- $ := index . 0 }}
{{- $remove := eq (index . 1) "uninstall" }}
image: {{ $.Values.images.driver }}
imagePullPolicy: {{ $.Values.imagePullPolicy }}
command:
- /hostvol-flex
args:
- {{ index . 1 }}
- {{ index . 2 }}
- --plugin-dir=/volume-plugins
- --kubelet-dir={{ $remove | ternary "/kubelet" "$(KUBELET_DIR)" }}
- --vendor=hostvol
{{- if not $remove }}
- --drivers={{ join "," $.Values.flexVolume.drivers }}
{{- end }}
resources:
  {{- toYaml $.Values.flexVolume.resources | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  {{- include "hostvol.sidecar" $ | nindent 2 }}
volumeMounts:
- name: plugins
  mountPath: /volume-plugins
{{- if $remove }}
- name: kubelet
  mountPath: /kubelet
  readOnly: true
  # It looks which volumes are mounted, and must see those that come and go.
  mountPropagation: HostToContainer
{{- end }}
{{- end }}

{{- define "hostvol.nodeName" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end }}

{{/* hostvol.clusterRole: (list . NAME RULES), a ClusterRole bound to the sidecars' account. */}}
{{- define "hostvol.clusterRole" -}}
{{- $ := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ index . 1 }}
  labels:
    {{- include "hostvol.labels" $ | nindent 4 }}
rules:
{{ index . 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ index . 1 }}
  labels:
    {{- include "hostvol.labels" $ | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ index . 1 }}
subjects:
- kind: ServiceAccount
  name: hostvol
  namespace: {{ $.Release.Namespace }}
{{- end }}

{{/* hostvol.role: the same in the release's namespace. */}}
{{- define "hostvol.role" -}}
{{- $ := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ index . 1 }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "hostvol.labels" $ | nindent 4 }}
rules:
{{ index . 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ index . 1 }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "hostvol.labels" $ | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ index . 1 }}
subjects:
- kind: ServiceAccount
  name: hostvol
  namespace: {{ $.Release.Namespace }}
{{- end }}
