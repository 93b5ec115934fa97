// An optimizer over one vector: its module, and the numbers of its last step.

class Updates {
  constructor(rule, n) {
    this.rule = rule;
    this.size = n;
    this.module = rule.make({n});
    this.before = null;
  }

  get count() { return this.module.count; }

  // new values for these values and gradients; rates are the options, lr among them
  step(values, gradients, rates) {
    const {module, size} = this, {at} = module.slots.p;
    const state = Object.fromEntries(this.rule.state.map(name => [name, this.state(name).slice()]));
    module.memory.set(values, at);
    module.step([gradients], rates);
    this.before = {p: Float32Array.from(values), g: Float32Array.from(gradients), state, numbers: {...module.rates, ...rates}};
    return module.memory.slice(at, at + size);
  }

  state(name) {
    const {at} = this.module.slots[`p.${name}`];
    return this.module.memory.subarray(at, at + this.size);
  }

  // the lines of the last step for one number: name, formula, the same with numbers, result
  explain(k) {
    if (!this.before) return this.blank();
    const {p, g, state, numbers} = this.before;
    const own = Object.fromEntries(Object.entries(state).map(([name, values]) => [name, values[k]]));
    return this.rule.lines({...numbers, ...own, p: p[k], g: g[k], t: this.count});
  }

  blank() {
    return this.rule.lines(Object.fromEntries([...this.rule.state, "p", "g", "t", ...Object.keys(this.module.rates)].map(k => [k, NaN])));
  }
}
