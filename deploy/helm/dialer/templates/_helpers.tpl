{{- define "dialer.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "dialer.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dialer.labels" -}}
{{ include "dialer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "dialer.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- /* What every container has: the image, the settings, and the secrets as files. */ -}}
{{- define "dialer.container" -}}
image: {{ include "dialer.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  - {name: DIALER_DATABASE_URL_FILE, value: /run/secrets/dialer/database-url}
  - {name: DIALER_REDIS_URL_FILE, value: /run/secrets/dialer/redis-url}
{{- if .Values.secret.brokerUrl }}
  - {name: DIALER_BROKER_URL_FILE, value: /run/secrets/dialer/broker-url}
{{- end }}
{{- if .Values.secret.metricsToken }}
  - {name: DIALER_METRICS_TOKEN_FILE, value: /run/secrets/dialer/metrics-token}
{{- end }}
{{- range .Values.trunkSecret.variables }}
  - {name: {{ . }}_FILE, value: /run/secrets/trunks/{{ . }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
  - {name: DIALER_{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- range $name, $value := .Values.environment }}
  - {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: secrets, mountPath: /run/secrets/dialer, readOnly: true}
{{- if .Values.trunkSecret.variables }}
  - {name: trunks, mountPath: /run/secrets/trunks, readOnly: true}
{{- end }}
{{- end }}

{{- /* What every pod has around its container. */ -}}
{{- define "dialer.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - {name: {{ . }}}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
volumes:
  - {name: tmp, emptyDir: {}}
  - name: secrets
    secret:
      secretName: {{ .Values.secret.name }}
      defaultMode: 0440
      items:
        - {key: {{ .Values.secret.databaseUrl }}, path: database-url}
        - {key: {{ .Values.secret.redisUrl }}, path: redis-url}
{{- with .Values.secret.brokerUrl }}
        - {key: {{ . }}, path: broker-url}
{{- end }}
{{- with .Values.secret.metricsToken }}
        - {key: {{ . }}, path: metrics-token}
{{- end }}
{{- with .Values.secret.ca }}
        - {key: {{ . }}, path: ca.crt}
{{- end }}
{{- if .Values.trunkSecret.variables }}
  - name: trunks
    secret: {secretName: {{ required "trunkSecret.name is required with trunkSecret.variables" .Values.trunkSecret.name }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- /* A Deployment of one process: dict "root" $ "kind" "bulk-worker" "process" "worker"
     "args" (list …) "replicas" n "resources" … "grace" seconds. */ -}}
{{- define "dialer.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "dialer.name" $root }}-{{ .kind }}
  labels:
    {{- include "dialer.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .kind }}
spec:
  {{- if not (eq (toString .replicas) "scaled") }}
  replicas: {{ .replicas }}
  {{- end }}
  # The new pod works before the old one stops, so that slots are refilled all the time.
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector:
    matchLabels:
      {{- include "dialer.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .kind }}
  template:
    metadata:
      labels:
        {{- include "dialer.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .kind }}
      {{- with $root.Values.podAnnotations }}
      annotations: {{ toJson . }}
      {{- end }}
    spec:
      {{- include "dialer.pod" $root | nindent 6 }}
      terminationGracePeriodSeconds: {{ .grace }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "dialer.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $.kind }}
        {{- end }}
      containers:
        - name: {{ .kind }}
          args: {{ toJson .args }}
          {{- include "dialer.container" $root | nindent 10 }}
          resources: {{ toJson .resources }}
          {{- $alive := list "dialer" "alive" .process }}
          startupProbe: {exec: {command: {{ toJson $alive }}}, periodSeconds: 5, timeoutSeconds: 10, failureThreshold: 24}
          livenessProbe: {exec: {command: {{ toJson $alive }}}, periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 3}
          {{- if eq .kind "api" }}
          ports: [{name: http, containerPort: {{ $root.Values.api.port }}}]
          readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 5, timeoutSeconds: 5}
          # The load balancer stops sending requests before the API stops accepting them.
          lifecycle: {preStop: {sleep: {seconds: 5}}}
          {{- else }}
          # In a rollout the next pod is replaced once this one works.
          readinessProbe: {exec: {command: {{ toJson (append $alive "--ready") }}}, periodSeconds: 10, timeoutSeconds: 10}
          {{- end }}
{{- end }}
