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

{{- /* Whether an object of the whole cluster is written: as its value says, else unless watchNamespaces is set. */ -}}
{{- define "fileupload-operator.isClusterWide" -}}
{{- if kindIs "bool" .value | ternary .value (empty .root.Values.watchNamespaces) -}}true{{- end -}}
{{- end -}}

{{- define "fileupload-operator.metricsName" -}}
{{- include "fileupload-operator.fullname" . | trunc 55 | trimSuffix "-" }}-metrics
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
{{- required "serviceAccount.name is required if serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "fileupload-operator.image" -}}
{{- $fix := "image.repository is required: the image repository that the nodes pull from, such as --set image.repository=REGISTRY/fileupload-operator" -}}
{{- $repository := required $fix .Values.image.repository -}}
{{- with .Values.image.digest -}}
{{- printf "%s@%s" $repository . -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The image pull Secrets of the operator's Pod: its own, then those of global, written as names or as references. */ -}}
{{- define "fileupload-operator.imagePullSecrets" -}}
{{- $secrets := .Values.imagePullSecrets -}}
{{- range (.Values.global).imagePullSecrets -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with uniq $secrets }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* values.yaml is the one place of the chart's defaults: all of them are given to the program. */ -}}
{{- define "fileupload-operator.arguments" -}}
{{- /* The image comes first, where the kustomization.yaml of a release finds it. */ -}}
{{- $arguments := list "controller" (printf "--worker-image=%s" (include "fileupload-operator.image" .)) -}}
{{- if .Values.deployments -}}
{{- $arguments = append $arguments "--deployments=/etc/fileupload-deployments/deployments.yaml" -}}
{{- else -}}
{{- $url := required "apiUrl is required: the URL of the Cyberun API, with its /api/v1" .Values.apiUrl -}}
{{- $arguments = append $arguments (printf "--api-url=%s" $url) -}}
{{- $arguments = append $arguments (printf "--retention=%s" .Values.retention) -}}
{{- $arguments = append $arguments (printf "--minimum-life=%s" .Values.minimumLife) -}}
{{- end -}}
{{- $arguments = append $arguments (printf "--worker-image-pull-policy=%s" .Values.image.pullPolicy) -}}
{{- range .Values.watchNamespaces -}}
{{- $arguments = append $arguments (printf "--namespace=%s" .) -}}
{{- end -}}
{{- if .Values.leaderElection.enabled -}}
{{- $arguments = append $arguments "--leader-elect" -}}
{{- $arguments = append $arguments (printf "--lease-name=%s" (include "fileupload-operator.fullname" .)) -}}
{{- $arguments = append $arguments (printf "--lease-namespace=%s" .Release.Namespace) -}}
{{- end -}}
{{- if .Values.allowHttp -}}
{{- $arguments = append $arguments "--allow-http" -}}
{{- end -}}
{{- if not .Values.directUploads -}}
{{- $arguments = append $arguments "--direct-uploads=false" -}}
{{- end -}}
{{- $arguments = append $arguments (printf "--max-sends=%d" (int .Values.maxSends)) -}}
{{- $arguments = append $arguments (printf "--max-workers=%d" (int .Values.workers.max)) -}}
{{- $arguments = append $arguments (printf "--max-workers-per-namespace=%d" (int .Values.workers.maxPerNamespace)) -}}
{{- with .Values.workers.deadlineSeconds -}}
{{- $arguments = append $arguments (printf "--worker-deadline=%d" (int .)) -}}
{{- end -}}
{{- range .Values.workers.imagePullSecrets | default (include "fileupload-operator.imagePullSecrets" . | fromYamlArray) -}}
{{- $arguments = append $arguments (printf "--worker-pull-secret=%s" .name) -}}
{{- end -}}
{{- if .Values.workers.defaults -}}
{{- $arguments = append $arguments "--worker-defaults=/etc/fileupload-workers/defaults.yaml" -}}
{{- end -}}
{{- if .Values.caBundle -}}
{{- $arguments = append $arguments "--ca-file=/etc/fileupload/ca.crt" -}}
{{- end -}}
{{- $arguments = append $arguments (printf "--log-format=%s" .Values.logFormat) -}}
{{- $arguments = append $arguments (printf "--log-level=%s" .Values.logLevel) -}}
{{- concat $arguments .Values.extraArgs | toYaml -}}
{{- end -}}

{{- define "fileupload-operator.env" -}}
{{- $variables := list -}}
{{- range $name, $value := dict "HTTPS_PROXY" .Values.proxy.https "HTTP_PROXY" .Values.proxy.http "NO_PROXY" .Values.proxy.noProxy -}}
{{- if $value -}}
{{- $variables = append $variables (dict "name" $name "value" $value) -}}
{{- end -}}
{{- end -}}
{{- with concat $variables .Values.extraEnv }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* The operator's rights in each namespace that it serves. */ -}}
{{- define "fileupload-operator.rules" -}}
# The resources that it serves. It never writes a spec, and deletes only those with spec.ttlSecondsAfterFinished.
- apiGroups: [cyberun.cloud]
  resources: [fileuploads]
  verbs: [list, watch, delete]
# The state and the keys of each upload.
- apiGroups: [cyberun.cloud]
  resources: [fileuploads/status]
  verbs: [patch]
{{- if .Values.directUploads }}
# The credential for Cyberun, one named Secret at a time. The operator can neither list nor watch Secrets.
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames: {{- toYaml . | nindent 4 }}
  {{- end }}
  verbs: [get]
{{- end }}
# It reads files from ConfigMaps, and creates, patches and deletes the outputs that carry its label.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# A worker starts once its claim is bound, on the node that has it.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch]
# Which Pods use a claim, and on which node; the report of a worker's Pod.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The workers. A finished Job is deleted, never changed.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list, watch, delete]
# list: the events of a worker that does not run say why. create: an event for each change of Ready's reason. An event
# is never changed afterwards, so patch is not needed.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
{{- end -}}

{{- /* The Secret that a team creates: the one of which the operator may read, or the first of them. */ -}}
{{- define "fileupload-operator.teamSecret" -}}
{{- if or (empty .Values.rbac.secretNames) (has "cyberun" .Values.rbac.secretNames) -}}
cyberun
{{- else -}}
{{- first .Values.rbac.secretNames -}}
{{- end -}}
{{- end -}}

{{- /* Of the objects of `helm test`: no Service or PodDisruptionBudget selects them. */ -}}
{{- define "fileupload-operator.testLabels" -}}
app.kubernetes.io/name: {{ include "fileupload-operator.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Makes an object a part of `helm test`, at its place in the order. */ -}}
{{- define "fileupload-operator.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
