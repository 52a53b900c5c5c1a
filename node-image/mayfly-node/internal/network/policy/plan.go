package policy

type Plan struct{}

func NewPlan(nodeName string, pods []Pod, namespaces []Namespace, policies []Policy) Plan {
	return Plan{}
}
