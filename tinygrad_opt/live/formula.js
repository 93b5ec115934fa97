// A formula of x and y: read, computed and differentiated by the rows of the operator table.

class Formula {
  constructor(text, operations) {
    this.operations = operations;
    this.nodes = [];                       // {op, inputs}, {variable} or {value}, inputs before what is made of them
    this.tokens = [...text.replace(/\*\*/g, "^").replace(/[−–]/g, "-").replace(/[·×]/g, "*").replace(/²/g, "^2").replace(/³/g, "^3")
      .matchAll(/\s*(\d+\.?\d*(?:e[-+]?\d+)?|\.\d+|[a-zA-Zπ]+|[-+*/^(),])|\s*(\S)/gi)].map(m => {
      if (m[2]) throw new Error(`what is ${m[2]}?`);
      return m[1];
    });
    this.at = 0;
    if (!this.tokens.length) throw new Error("a formula of x and y is wanted");
    this.end = this.sum();
    if (this.at < this.tokens.length) throw new Error(`${this.tokens[this.at]} was not expected`);
  }

  take(token) { return this.tokens[this.at] === token && (this.at++, true); }
  want(token) { if (!this.take(token)) throw new Error(`${token} is missing${this.at < this.tokens.length ? ` before ${this.tokens[this.at]}` : " at the end"}`); }
  add(node) { return this.nodes.push(node) - 1; }
  call(op, ...inputs) { return this.add({op, inputs}); }

  sum() {
    let left = this.product();
    for (;;) {
      if (this.take("+")) left = this.call("+", left, this.product());
      else if (this.take("-")) left = this.call("-", left, this.product());
      else return left;
    }
  }

  product() {
    let left = this.sign();
    for (;;) {
      const next = this.tokens[this.at];
      if (this.take("*")) left = this.call("*", left, this.sign());
      else if (this.take("/")) left = this.call("/", left, this.sign());
      else if (next && /^[\w.π(]/.test(next)) left = this.call("*", left, this.power());     // 2x
      else return left;
    }
  }

  sign() {
    if (this.take("-")) return this.call("neg", this.sign());
    this.take("+");
    return this.power();
  }

  power() {
    const base = this.atom();
    return this.take("^") ? this.call("^", base, this.sign()) : base;
  }

  atom() {
    const token = this.tokens[this.at++];
    if (token === undefined) throw new Error("the formula ends too early");
    if (/^[\d.]/.test(token)) return this.add({value: Number(token)});
    if (token === "(") { const inside = this.sum(); this.want(")"); return inside; }
    const name = token.toLowerCase();
    if (name === "x" || name === "y") return this.add({variable: name === "x" ? 0 : 1});
    if (name === "pi" || name === "π") return this.add({value: Math.PI});
    if (name === "e") return this.add({value: Math.E});
    const row = Object.hasOwn(this.operations, name) && name !== "neg" && this.operations[name];
    if (!row) throw new Error(`there is no ${token}; there are x, y, pi, e, ${Object.keys(this.operations).filter(k => /^[a-z]/.test(k) && k !== "neg").join(", ")}`);
    this.want("(");
    const inputs = [this.sum()];
    while (this.take(",")) inputs.push(this.sum());
    this.want(")");
    if (inputs.length !== row.of.length) throw new Error(`${name} takes ${row.of.length} number${row.of.length > 1 ? "s" : ""}`);
    return this.call(name, ...inputs);
  }

  values(x, y) {
    const made = [];
    for (const node of this.nodes)
      made.push(node.op ? this.operations[node.op].of(...node.inputs.map(i => made[i])) : node.variable === undefined ? node.value : node.variable ? y : x);
    return made;
  }

  height(x, y) { return this.values(x, y)[this.end]; }

  gradient(x, y) {                         // the backward pass
    const z = this.values(x, y), g = new Float64Array(z.length), slope = [0, 0];
    const needs = [];
    this.nodes.forEach((node, i) => { needs[i] = node.op ? node.inputs.some(k => needs[k]) : node.variable !== undefined; });
    g[this.end] = 1;
    for (let i = this.end; i >= 0; i--) {
      const node = this.nodes[i];
      if (node.variable !== undefined) slope[node.variable] += g[i];
      if (!node.op || !needs[i]) continue;
      const inputs = node.inputs.map(k => z[k]);
      node.inputs.forEach((k, place) => {
        if (needs[k]) g[k] += this.operations[node.op].slopes[place](g[i], z[i], ...inputs);
      });
    }
    return slope;
  }
}
