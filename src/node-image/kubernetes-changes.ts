import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import { MayflyError } from '../errors.ts'

/** A passage of Kubernetes' source that reads otherwise in a node image of ours. */
export interface SourceChange {
  /** Path in Kubernetes' source. */
  file: string
  /** As upstream has it, since v1.34 at least. */
  from: string
  to: string
  /** The same in versions that do not have the file. */
  earlier?: SourceChange
}

/** Go modules of their own within Kubernetes' source. */
const staging = 'staging/src/'
/** Copies of others' Go modules within Kubernetes' source. */
const vendored = 'vendor/'
const clientLibrary = `${staging}k8s.io/client-go`
const serverLibrary = `${staging}k8s.io/apiserver`
const aggregatorLibrary = `${staging}k8s.io/kube-aggregator`
const controllerLibrary = `${staging}k8s.io/controller-manager`
/** A library that is not Kubernetes' own. */
const restLibrary = `${vendored}github.com/emicklei/go-restful/v3`
const typeConverters = `${serverLibrary}/pkg/admission/plugin/policy/mutating/patch/typeconverter.go`
const watchCache = `${serverLibrary}/pkg/storage/cacher`
const clientBuilder = `${controllerLibrary}/pkg/clientbuilder/client_builder_dynamic.go`
const openAPIAggregator = `${aggregatorLibrary}/pkg/controllers/openapiv3/aggregator/aggregator.go`

/**
 * Waits of Kubernetes' own, and work at its start, that no flag spares. What is shortened spares the API server of a
 * cluster with thousands of nodes; here it is time in which a boot, or a pod of a suite, stands still. Beside these and the
 * added files nothing of Kubernetes is changed.
 */
export const sourceChanges: readonly SourceChange[] = [
  // Until these two have run /healthz fails, and nothing else starts. They wait before they look for the first time.
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'wait.Poll(1*time.Second,',
    to: 'wait.PollImmediate(1*time.Second,',
  },
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'if _, err := client.RbacV1().ClusterRoles().List(context.TODO(), metav1.ListOptions{}); err != nil {',
    to: 'clusterRoles, err := listClusterRoles(client)\n\tif err != nil {',
  },
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'if _, err := client.RbacV1().ClusterRoleBindings().List(context.TODO(), metav1.ListOptions{}); err != nil {',
    to: 'clusterRoleBindings, err := listClusterRoleBindings(client)\n\tif err != nil {',
  },
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()}',
    to: 'ClusterRoleModifier{Client: clusterRoles}',
  },
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()}',
    to: 'ClusterRoleBindingClientAdapter{Client: clusterRoleBindings}',
  },
  {
    file: 'pkg/registry/scheduling/rest/storage_scheduling.go',
    from: 'wait.Poll(1*time.Second,',
    to: 'wait.PollImmediate(1*time.Second,',
  },
  // Between the first contents of a component's caches and its first work; the API server's own, and its first writes.
  {
    file: `${clientLibrary}/tools/cache/shared_informer.go`,
    from: '\tsyncedPollPeriod = 100 * time.Millisecond',
    to: '\tsyncedPollPeriod = 20 * time.Millisecond',
  },
  {
    file: 'pkg/scheduler/eventhandlers.go',
    from: 'syncedPollPeriod = 100 * time.Millisecond',
    to: 'syncedPollPeriod = 20 * time.Millisecond',
  },
  {
    file: `${serverLibrary}/pkg/server/storage_readiness_hook.go`,
    from: 'wait.PollUntilContextCancel(deadlineCtx, 100*time.Millisecond',
    to: 'wait.PollUntilContextCancel(deadlineCtx, 20*time.Millisecond',
  },
  {
    file: `${serverLibrary}/pkg/admission/handler.go`,
    from: 'case <-time.After(100 * time.Millisecond):',
    to: 'case <-time.After(20 * time.Millisecond):',
  },
  // Before a kubelet's first attempt to find its Node; it doubles with each.
  {
    file: 'pkg/kubelet/kubelet_node_status.go',
    from: '\tstep := 100 * time.Millisecond',
    to: '\tstep := 20 * time.Millisecond',
  },
  // Descriptions of all types that few clients ask for: see mayfly_openapi.go and mayfly_asked.go.
  {
    file: `${serverLibrary}/pkg/server/routes/openapi.go`,
    from: '\tspec, err := builder2.BuildOpenAPISpecFromRoutes(',
    to: '\tif service := oa.installOnDemand(c, mux); service != nil {\n\t\treturn service, nil\n\t}\n\toa.Config = forOne(oa.Config)\n\tspec, err := builder2.BuildOpenAPISpecFromRoutes(',
  },
  {
    file: `${serverLibrary}/pkg/server/routes/openapi.go`,
    from: '\tfor gv, ws := range grouped {',
    to: '\toa.describeOnDemand(openAPIVersionedService, grouped, func(oa OpenAPI, openAPIVersionedService described) {\n\tfor gv, ws := range grouped {',
  },
  {
    file: `${serverLibrary}/pkg/server/routes/openapi.go`,
    from: '\t\topenAPIVersionedService.UpdateGroupVersion(gv, spec)\n\t}\n',
    to: '\t\topenAPIVersionedService.UpdateGroupVersion(gv, spec)\n\t}\n\t})\n',
  },
  // Expressions for paths that nobody matches: see mayfly_late.go.
  {
    file: `${restLibrary}/path_expression.go`,
    from: 'Matcher      *regexp.Regexp',
    to: 'Matcher      *lateExpression',
  },
  {
    file: `${restLibrary}/path_expression.go`,
    from: 'compiled, err := regexp.Compile(expression)',
    to: 'compiled, err := compileLate(path, expression)',
  },
  // Schemas of all types that only policies need: see mayfly_asked.go.
  {
    file: 'cmd/kube-controller-manager/app/validatingadmissionpolicystatus.go',
    from: 'resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, k8sscheme.Scheme, apiextensionsscheme.Scheme).',
    to: 'schemasWhenAsked(func() *resolver.DefinitionsSchemaResolver {\n\t\treturn resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, k8sscheme.Scheme, apiextensionsscheme.Scheme)\n\t}).',
  },
  // Who asks by itself, every five seconds: see mayfly_first.go.
  {
    file: typeConverters,
    from: 'type typeConverterManager struct {',
    to: 'type typeConverterManager struct {\n\tasked',
  },
  {
    file: typeConverters,
    from: '\t// Loop every 5s refershing the OpenAPI schema list',
    to: '\tif !t.isWanted(ctx) {\n\t\treturn\n\t}\n\t// Loop every 5s refershing the OpenAPI schema list',
  },
  {
    file: typeConverters,
    from: '\tgv := gvk.GroupVersion()\n',
    to: '\tt.describe()\n\tgv := gvk.GroupVersion()\n',
  },
  { file: openAPIAggregator, from: '\t\ts.UpdateAPIServiceSpec(apiServiceName)\n\t\ti++', to: '\t\ti++' },
  { file: openAPIAggregator, from: 'type specProxier struct {', to: 'type specProxier struct {\n\tasked' },
  {
    file: openAPIAggregator,
    from: 'func (s *specProxier) UpdateAPIServiceSpec(apiServiceName string) error {',
    to: 'func (s *specProxier) UpdateAPIServiceSpec(apiServiceName string) error {\n\tif s.waitsForSomebody(apiServiceName) {\n\t\treturn nil\n\t}',
  },
  {
    file: openAPIAggregator,
    from: 'func (s *specProxier) handleDiscovery(w http.ResponseWriter, r *http.Request) {',
    to: 'func (s *specProxier) handleDiscovery(w http.ResponseWriter, r *http.Request) {\n\ts.describe()',
  },
  {
    file: openAPIAggregator,
    from: 'func (s *specProxier) handleGroupVersion(w http.ResponseWriter, r *http.Request) {',
    to: 'func (s *specProxier) handleGroupVersion(w http.ResponseWriter, r *http.Request) {\n\ts.describe()',
  },
  // How many events each component remembers, of each of several sorts, to count repetitions: suites fill them.
  {
    file: `${clientLibrary}/tools/record/events_cache.go`,
    from: 'maxLruCacheEntries = 4096',
    to: 'maxLruCacheEntries = 512',
  },
  // What etcd has forgotten, an API server forgets too, not only its lists of all objects: see mayfly_forget.go.
  {
    file: `${watchCache}/compactor.go`,
    from: '\tc.compactRevision = rev\n',
    to: '\tc.wc.forget(uint64(rev))\n\tc.compactRevision = rev\n',
  },
  {
    file: `${watchCache}/watch_cache_history.go`,
    from: 'type watchCacheHistory struct {',
    to: 'func (w *watchCache) events() *watchCacheHistory { return w.history }\n\ntype watchCacheHistory struct {',
    // Before v1.37 the history was part of the cache itself.
    earlier: {
      file: `${watchCache}/watch_cache.go`,
      from: 'type watchCache struct {',
      to: 'func (w *watchCache) events() *watchCache { return w }\n\ntype watchCache struct {',
    },
  },
  // Between a kubelet's finding its Node and its asking for pods.
  {
    file: 'pkg/kubelet/config/apiserver.go',
    from: 'WaitForAPIServerSyncPeriod = 1 * time.Second',
    to: 'WaitForAPIServerSyncPeriod = 20 * time.Millisecond',
  },
  // Between a container's start and the kubelet's noticing it.
  {
    file: 'pkg/kubelet/kubelet.go',
    from: 'genericPlegRelistPeriod    = time.Second * 1',
    to: 'genericPlegRelistPeriod    = 300 * time.Millisecond',
  },
  // Between a container's being ready and the kubelet's noticing it: see mayfly_soon.go.
  {
    file: 'pkg/kubelet/prober/worker.go',
    from: 'type worker struct {',
    to: 'type worker struct {\n\t// The container that was ready at least once.\n\tonceReady kubecontainer.ContainerID\n\tisAtPeriod bool\n',
  },
  {
    file: 'pkg/kubelet/prober/worker.go',
    from: '\tfor w.doProbe(ctx) {',
    to: '\tfor w.doProbe(ctx) {\n\t\tw.scheduleNext(probeTicker, probeTickerPeriod)',
  },
  // Probes of pods that a kubelet finds when it starts are spread over a period.
  {
    file: 'pkg/kubelet/prober/worker.go',
    from: 'if probeTickerPeriod > time.Since(w.probeManager.start) {',
    to: 'if w.probeType != readiness && probeTickerPeriod > time.Since(w.probeManager.start) {',
  },
  // Three stages, one after another, between a pod's arrival and its sandbox.
  {
    file: 'pkg/kubelet/volumemanager/volume_manager.go',
    from: 'desiredStateOfWorldPopulatorLoopSleepPeriod = 100 * time.Millisecond',
    to: 'desiredStateOfWorldPopulatorLoopSleepPeriod = 30 * time.Millisecond',
  },
  {
    file: 'pkg/kubelet/volumemanager/volume_manager.go',
    from: 'reconcilerLoopSleepPeriod = 100 * time.Millisecond',
    to: 'reconcilerLoopSleepPeriod = 30 * time.Millisecond',
  },
  {
    file: 'pkg/kubelet/volumemanager/volume_manager.go',
    from: 'podAttachAndMountRetryInterval = 300 * time.Millisecond',
    to: 'podAttachAndMountRetryInterval = 30 * time.Millisecond',
  },
  // Between the unmounting of a deleted pod's volumes and the kubelet's noticing it.
  {
    file: 'pkg/kubelet/kubelet.go',
    from: 'wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {\n\t\tvolumesExist :=',
    to: 'wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {\n\t\tvolumesExist :=',
  },
  // Between a static pod's mirror that was refused and the next attempt: see mayfly_mirror.go.
  {
    file: 'pkg/kubelet/kubelet.go',
    from: '"Failed creating a mirror pod", "pod", klog.KObj(staticPod))',
    to: '"Failed creating a mirror pod", "pod", klog.KObj(staticPod))\n\t\t\t\tkl.offerMirrorAgain(ctx, staticPod)',
  },
  // Between the end of a static pod whose manifest was edited and the start of its successor.
  {
    file: 'pkg/kubelet/pod_workers.go',
    from: 'p.workQueue.Enqueue(pod.UID, wait.Jitter(p.backOffPeriod, workerBackOffPeriodJitterFactor))',
    to: 'p.workQueue.Enqueue(pod.UID, wait.Jitter(backOffOnTransientErrorPeriod, workerBackOffPeriodJitterFactor))',
  },
  // Such a pod is another one: see mayfly_edited.go.
  {
    file: 'pkg/kubelet/config/common.go',
    from: '\tif len(pod.UID) == 0 {',
    to: '\tpod.UID = countingUID(pod.UID, source, isFile)\n\tif len(pod.UID) == 0 {',
  },
  // Between a deleted pod's end and the removal of what the container runtime keeps of it: suites leave a hundred a minute.
  {
    file: 'pkg/kubelet/kubelet.go',
    from: 'ContainerGCPeriod = time.Minute',
    to: 'ContainerGCPeriod = 10 * time.Second',
  },
  // Between a kube-proxy's start and its first rules: see mayfly_leftovers.go.
  {
    file: 'cmd/kube-proxy/app/options.go',
    from: 'err := platformCleanup(ctx, o.config.Mode, o.CleanupAndExit)',
    to: 'err := removeLeftovers(ctx, o.config.Mode, o.CleanupAndExit)',
  },
  // Requests of a controller manager before its controllers start: see mayfly_once.go.
  {
    file: clientBuilder,
    from: '\t_, err := getOrCreateServiceAccount(t.CoreClient, t.Namespace, saName)',
    to: '\terr := t.ensureServiceAccount(saName)',
  },
  {
    file: clientBuilder,
    from: 'type tokenSourceImpl struct {',
    to: 'type tokenSourceImpl struct {\n\tisGone bool // when a token was last asked for, there was no such account',
  },
  {
    file: clientBuilder,
    from: 'if _, inErr := getOrCreateServiceAccount(ts.coreClient, ts.namespace, ts.serviceAccountName); inErr != nil {',
    to: 'if inErr := ts.restoreServiceAccount(); inErr != nil {',
  },
  {
    file: clientBuilder,
    from: '\t\tif inErr != nil {\n\t\t\tklog.Warningf("get token failed: %v", inErr)',
    to: '\t\tts.isGone = apierrors.IsNotFound(inErr)\n\t\tif inErr != nil {\n\t\t\tklog.Warningf("get token failed: %v", inErr)',
  },
  // A certificate that a component makes for itself has a key on a curve, not RSA's: see mayfly_selfsigned.go.
  { file: `${clientLibrary}/util/cert/cert.go`, from: '\t"crypto/rsa"\n', to: '' },
  {
    file: `${clientLibrary}/util/cert/cert.go`,
    from: 'caKey, err := rsa.GenerateKey(cryptorand.Reader, 2048)',
    to: 'caKey, err := newSelfSignedKey()',
  },
  {
    file: `${clientLibrary}/util/cert/cert.go`,
    from: 'priv, err := rsa.GenerateKey(cryptorand.Reader, 2048)',
    to: 'priv, err := newSelfSignedKey()',
  },
  {
    file: `${clientLibrary}/util/cert/cert.go`,
    from: 'Type: keyutil.RSAPrivateKeyBlockType, Bytes: x509.MarshalPKCS1PrivateKey(priv)',
    to: 'Type: keyutil.ECPrivateKeyBlockType, Bytes: selfSignedKeyBytes(priv)',
  },
]

/** What of ours stands beside Kubernetes' own files, by its path in Kubernetes' source; each says what it is for. */
const addedFiles = [
  'pkg/registry/rbac/rest/mayfly_listed.go',
  'cmd/kube-controller-manager/app/mayfly_asked.go',
  'cmd/kube-proxy/app/mayfly_leftovers.go',
  'pkg/kubelet/mayfly_mirror.go',
  'pkg/kubelet/config/mayfly_edited.go',
  'pkg/kubelet/prober/mayfly_soon.go',
  `${serverLibrary}/pkg/server/routes/mayfly_openapi.go`,
  `${serverLibrary}/pkg/admission/plugin/policy/mutating/patch/mayfly_first.go`,
  `${aggregatorLibrary}/pkg/controllers/openapiv3/aggregator/mayfly_asked.go`,
  `${watchCache}/mayfly_forget.go`,
  `${serverLibrary}/pkg/storage/storagebackend/factory/mayfly_shared.go`,
  `${clientLibrary}/util/cert/mayfly_selfsigned.go`,
  `${controllerLibrary}/pkg/clientbuilder/mayfly_once.go`,
  `${restLibrary}/mayfly_late.go`,
]

/** The Go modules that are changed: Kubernetes itself, and libraries that are parts of its source and have its version. */
export const changedModules = [
  'k8s.io/kubernetes',
  'k8s.io/apiserver',
  'k8s.io/client-go',
  'k8s.io/controller-manager',
  'k8s.io/kube-aggregator',
] as const

/** Libraries of others that are changed. */
export const changedLibraries = ['github.com/emicklei/go-restful/v3'] as const

/** Folders with the source of the changed modules, by the paths by which Go knows them. */
export type ChangedModules = Record<(typeof changedModules)[number], string>

/** The same of the changed libraries. */
export type ChangedLibraries = Record<(typeof changedLibraries)[number], string>

/** The changed modules of a whole tree of Kubernetes' source. */
export function modulesOfTree(dir: string): ChangedModules {
  const folderOf = (module: string) => (module === 'k8s.io/kubernetes' ? dir : join(dir, staging, module))
  return Object.fromEntries(changedModules.map((module) => [module, folderOf(module)])) as ChangedModules
}

/**
 * Makes an overlay for Go's compiler in which Kubernetes' files have our changes, and our files beside them.
 *
 * @param modules Nothing in these folders is changed
 * @param added Folder with the files that are ours
 * @param scratch Folder for the files that stand in for Kubernetes' own
 * @returns The compiler's flag
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` when a passage is not where it used to be
 */
export async function overlayChanges(
  modules: ChangedModules & ChangedLibraries,
  added: string,
  scratch: string,
): Promise<string> {
  const changes = sourceChanges.map((change) =>
    change.earlier && !existsSync(sourceOf(modules, change.file)) ? change.earlier : change,
  )
  const replacements: Record<string, string> = {}
  for (const [file, ofFile] of Map.groupBy(changes, (change) => change.file)) {
    const replacement = join(scratch, file)
    await mkdir(dirname(replacement), { recursive: true })
    const upstream = sourceOf(modules, file)
    await writeFile(replacement, withChanges(await readFile(upstream, 'utf8'), ofFile))
    replacements[upstream] = replacement
  }
  const tests = addedTests(added)
  for (const file of [...addedFiles, ...tests]) replacements[sourceOf(modules, file)] = join(added, file)
  // Kubernetes' own tests of these packages, some of which need a long time and much else, are left out.
  for (const folder of new Set(tests.map((file) => dirname(sourceOf(modules, file)))))
    for (const name of await readdir(folder))
      if (name.endsWith('_test.go')) replacements[join(folder, name)] = ''
  const overlay = join(scratch, 'overlay.json')
  await writeFile(overlay, JSON.stringify({ Replace: replacements }))
  return `-overlay=${overlay}`
}

/** The tests of the files that are ours; mayfly's own package has none. */
function addedTests(added: string): string[] {
  return addedFiles
    .map((file) => file.replace(/\.go$/, '_test.go'))
    .filter((file) => existsSync(join(added, file)))
}

/** The packages of Kubernetes that have tests of ours, by the paths by which Go knows them. */
export function testedPackages(added: string): string[] {
  return addedTests(added).map((file) => {
    const { module, path } = placeOf(file)
    return posix.join(module, posix.dirname(path))
  })
}

/** Where Go looks for a file of Kubernetes' source. */
function sourceOf(modules: ChangedModules & ChangedLibraries, file: string): string {
  const { module, path } = placeOf(file)
  return join(modules[module], path)
}

/** The module that a file of Kubernetes' source belongs to, and its path there. */
function placeOf(file: string): { module: keyof (ChangedModules & ChangedLibraries); path: string } {
  const places = [
    ...changedModules.map((module) => ({ module, folder: `${staging}${module}/` })),
    ...changedLibraries.map((module) => ({ module, folder: `${vendored}${module}/` })),
  ]
  const place = places.find(({ folder }) => file.startsWith(folder))
  if (!place) return { module: 'k8s.io/kubernetes', path: file }
  return { module: place.module, path: file.slice(place.folder.length) }
}

/** A file of Kubernetes' with changes. Pure. */
export function withChanges(text: string, changes: readonly SourceChange[]): string {
  return changes.reduce((changed, { file, from, to }) => {
    if (changed.includes(from)) return changed.replace(from, to)
    throw new MayflyError('NODE_IMAGE_BUILD_FAILED', `Kubernetes' ${file} has no "${from}"`, {
      hint: 'Correct src/node-image/kubernetes-changes.ts for this version of Kubernetes',
    })
  }, text)
}
