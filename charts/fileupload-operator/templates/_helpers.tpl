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

{{- define "fileupload-operator.image" -}}
{{- $repository := required "image.repository is needed: where the nodes find the image" .Values.image.repository -}}
{{- with .Values.image.digest -}}
{{- printf "%s@%s" $repository . -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Only what differs from the program's own defaults, so that these are in one place. */ -}}
{{- define "fileupload-operator.arguments" -}}
{{- $arguments := list "controller" -}}
{{- $url := required "apiUrl is needed: the Cyberun API, with its /api/v1" .Values.apiUrl -}}
{{- $arguments = append $arguments (printf "--api-url=%s" $url) -}}
{{- $arguments = append $arguments (printf "--worker-image=%s" (include "fileupload-operator.image" .)) -}}
{{- range .Values.watchNamespaces -}}
{{- $arguments = append $arguments (printf "--namespace=%s" .) -}}
{{- end -}}
{{- if .Values.allowHttp -}}
{{- $arguments = append $arguments "--allow-http" -}}
{{- end -}}
{{- if not .Values.directUploads -}}
{{- $arguments = append $arguments "--direct-uploads=false" -}}
{{- end -}}
{{- if ne .Values.retention "24h" -}}
{{- $arguments = append $arguments (printf "--retention=%s" .Values.retention) -}}
{{- end -}}
{{- if ne .Values.minimumLife "1h" -}}
{{- $arguments = append $arguments (printf "--minimum-life=%s" .Values.minimumLife) -}}
{{- end -}}
{{- $numbers := dict "max-workers" (list .Values.workers.max 64) "max-workers-per-claim" (list .Values.workers.maxPerClaim 4) "max-workers-per-credential" (list .Values.workers.maxPerCredential 8) -}}
{{- range $flag, $pair := $numbers -}}
{{- if ne (first $pair | int) (last $pair) -}}
{{- $arguments = append $arguments (printf "--%s=%d" $flag (first $pair | int)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.workers.deadlineSeconds -}}
{{- $arguments = append $arguments (printf "--worker-deadline=%d" (int .)) -}}
{{- end -}}
{{- range .Values.workers.pullSecrets -}}
{{- $arguments = append $arguments (printf "--worker-pull-secret=%s" .) -}}
{{- end -}}
{{- range $key, $value := .Values.workers.labels -}}
{{- $arguments = append $arguments (printf "--worker-label=%s=%s" $key $value) -}}
{{- end -}}
{{- if .Values.caBundle -}}
{{- $arguments = append $arguments "--ca-file=/etc/fileupload/ca.crt" -}}
{{- end -}}
{{- if ne .Values.logFormat "json" -}}
{{- $arguments = append $arguments (printf "--log-format=%s" .Values.logFormat) -}}
{{- end -}}
{{- if ne .Values.logLevel "info" -}}
{{- $arguments = append $arguments (printf "--log-level=%s" .Values.logLevel) -}}
{{- end -}}
{{- concat $arguments .Values.extraArgs | toYaml -}}
{{- end -}}

{{- define "fileupload-operator.proxy" -}}
{{- $variables := list -}}
{{- range $name, $value := dict "HTTPS_PROXY" .Values.proxy.https "HTTP_PROXY" .Values.proxy.http "NO_PROXY" .Values.proxy.noProxy -}}
{{- if $value -}}
{{- $variables = append $variables (dict "name" $name "value" $value) -}}
{{- end -}}
{{- end -}}
{{- with $variables }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* What the operator may do in each namespace that it serves. */ -}}
{{- define "fileupload-operator.rules" -}}
# What it serves. It never writes a spec, and deletes only what asks for it by spec.ttlSecondsAfterFinished.
- apiGroups: [cyberun.cloud]
  resources: [fileuploads]
  verbs: [get, list, watch, delete]
# Where it says how far each upload is and keeps the keys.
- apiGroups: [cyberun.cloud]
  resources: [fileuploads/status]
  verbs: [patch]
{{- if .Values.directUploads }}
# The token for Cyberun, one named Secret at a time: it can neither list nor watch them.
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames: {{- toYaml . | nindent 4 }}
  {{- end }}
  verbs: [get]
{{- end }}
# Files to upload are read from them, keys written to those with its label: created, patched, withdrawn.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# A worker starts once its claim is bound, on the node that has it.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch]
# Who uses a claim, and where; what a worker's pod has to report.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The workers themselves. What is done is deleted, never changed.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list, watch, delete]
# Why a worker has no pod is read from them. Each transition is told by an event of its own, and none is changed later.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
{{- end -}}
