{{- define "fileupload-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "fileupload-operator.fullname" -}}
{{- $name := include "fileupload-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "fileupload-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "fileupload-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fileupload-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "fileupload-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "fileupload-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fileupload-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* What the operator may do in each namespace that it serves. */ -}}
{{- define "fileupload-operator.rules" -}}
# What it serves. It never writes a spec.
- apiGroups: [cyberun.cloud]
  resources: [fileuploads]
  verbs: [get, list, watch]
# Where it says how far each upload is and keeps the keys.
- apiGroups: [cyberun.cloud]
  resources: [fileuploads/status]
  verbs: [patch]
# The token for Cyberun, one named Secret at a time: it can neither list nor watch them.
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames: {{- toYaml . | nindent 4 }}
  {{- end }}
  verbs: [get]
# Files to upload are read from them, keys written to those with its label: created, patched, withdrawn.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Tells of each transition; a repeated one is counted by a patch.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
