{{/* Name of everything of this release. */}}
{{- define "pulse.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 }}{{ end }}
{{- end }}

{{/* Labels that select the pods of a part: (dict "of" $ "part" "gateway"). */}}
{{- define "pulse.selector" -}}
app.kubernetes.io/name: {{ .of.Chart.Name }}
app.kubernetes.io/instance: {{ .of.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "pulse.labels" -}}
{{ include "pulse.selector" . }}
app.kubernetes.io/version: {{ .of.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .of.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .of.Chart.Name .of.Chart.Version }}
{{- end }}

{{/* What the pods of all parts have in common. */}}
{{- define "pulse.pod" -}}
automountServiceAccountToken: false
terminationGracePeriodSeconds: 30
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .of.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .of.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .of.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the containers of all parts have in common. A changed configuration is a new pod. */}}
{{- define "pulse.container" -}}
image: "{{ .of.Values.image.repository }}:{{ .of.Values.image.tag | default .of.Chart.AppVersion }}"
imagePullPolicy: {{ .of.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: ["ALL"]}
{{- end }}

{{- define "pulse.annotations" -}}
checksum/config: {{ include (print .of.Template.BasePath "/configmap.yaml") .of | sha256sum }}
{{- with .port }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Probes on a port. Until it is ready for the first time, a part may need the time of a recovery. */}}
{{- define "pulse.probes" -}}
startupProbe: {httpGet: {path: /livez, port: {{ . }}}, periodSeconds: 2, failureThreshold: 150}
livenessProbe: {httpGet: {path: /livez, port: {{ . }}}, periodSeconds: 10, failureThreshold: 6}
readinessProbe: {httpGet: {path: /readyz, port: {{ . }}}, periodSeconds: 5}
{{- end }}

{{/* Environment of the parts of a cluster. */}}
{{- define "pulse.clusterEnv" -}}
- {name: PULSE__DATA__DIR, value: /var/lib/pulse}
- {name: PULSE__LOG__KIND, value: kafka}
- {name: PULSE__LOG__BROKERS, value: {{ required "cluster.brokers: addresses of the Kafka brokers" .Values.cluster.brokers | quote }}}
- {name: PULSE__LOG__KAFKA__PARTITIONS, value: {{ .Values.cluster.partitions | quote }}}
- {name: PULSE__STORE__KIND, value: postgres}
- name: PULSE__STORE__URL
  valueFrom: {secretKeyRef: {name: {{ required "cluster.secretName: a Secret with store-url and cluster-secret" .Values.cluster.secretName | quote }}, key: store-url}}
- {name: PULSE__OBJECTS__URL, value: {{ required "cluster.objects: s3://bucket/folder, or a path below /var/lib/pulse/shared" .Values.cluster.objects | quote }}}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Volumes and their places for the parts of a cluster. */}}
{{- define "pulse.clusterMounts" -}}
- {name: config, mountPath: /etc/pulse, readOnly: true}
- {name: own, mountPath: /var/lib/pulse}
- {name: tmp, mountPath: /tmp}
{{- if .Values.cluster.sharedVolume }}
- {name: shared, mountPath: /var/lib/pulse/shared}
{{- end }}
{{- end }}

{{- define "pulse.clusterVolumes" -}}
- {name: config, configMap: {name: {{ include "pulse.name" . }}}}
- {name: own, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- with .Values.cluster.sharedVolume }}
- {name: shared, persistentVolumeClaim: {claimName: {{ . | quote }}}}
{{- end }}
{{- end }}
