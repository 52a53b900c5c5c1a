package policy

import "context"

type Enforcer struct{}

func NewEnforcer() (*Enforcer, error) { return &Enforcer{}, nil }

func (e *Enforcer) Apply(ctx context.Context, plan Plan) error { return nil }
