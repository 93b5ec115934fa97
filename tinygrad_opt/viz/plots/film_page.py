"""The page that plays an animation: nothing in it comes from anywhere else."""

__all__ = ["PAGE"]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>%TITLE%</title>
<style>
body{margin:8px;background:%PAGE%;color:%TEXT%;font:14px "DejaVu Sans",Verdana,sans-serif}
canvas{display:block;max-width:100%;height:auto}
.bar{display:flex;gap:8px;align-items:center;margin-top:8px}
input{flex:1;min-width:60px;accent-color:#0072B2}
button,select{font:inherit;color:inherit;background:%PAGE%;border:1px solid %MUTED%;
border-radius:4px;padding:3px 9px;min-width:2.6em}
button:focus-visible,input:focus-visible,select:focus-visible{outline:2px solid #0072B2}
output{min-width:6em;text-align:right;color:%MUTED%;font-variant-numeric:tabular-nums}
</style></head><body>
<canvas id="c" role="img" aria-label="%TITLE%"></canvas>
<div class="bar" id="bar">
<button id="play" aria-label="play or pause" title="space">▶</button>
<input id="at" type="range" min="0" value="0" aria-label="frame" title="← and →">
<output id="n"></output>
<select id="speed" aria-label="speed"><option value=".25">¼×</option><option value=".5">½×</option>
<option value="1" selected>1×</option><option value="2">2×</option><option value="4">4×</option>
</select></div>
<script>
const packed={film:"%FILM%",bytes:"%BYTES%"};
const el=id=>document.getElementById(id);
async function unpack(text){
  const raw=Uint8Array.from(atob(text),c=>c.charCodeAt(0));
  const stream=new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
async function picture(url){const i=new Image();i.src=url;await i.decode();return i;}
function cells(p,bytes,frames){          // each frame holds what changed since the one before
  const n=p.rows*p.columns;p.cells=bytes.slice(p.at,p.at+n*frames);
  for(let i=n;i<p.cells.length;i++)p.cells[i]=p.cells[i]+p.cells[i-n]&255;
  p.canvas=new OffscreenCanvas(p.columns,p.rows);
}
function pen(g,p){g.strokeStyle=p.color;g.lineWidth=p.pen;g.setLineDash(p.dashes);
  g.lineJoin="round";}
function path(g,points,from,to){
  let down=false;g.beginPath();
  for(let i=from;i<to;i++){
    const x=points[2*i],y=points[2*i+1];
    if(x===null){down=false;continue;}
    if(down)g.lineTo(x/10,y/10);else g.moveTo(x/10,y/10);
    down=true;
  }
  g.stroke();
}
function stamp(g,p,i){
  const x=p.points[2*i],y=p.points[2*i+1];
  if(x===null)return;
  g.setLineDash([]);g.fillStyle=p.fill;g.strokeStyle=p.edge;g.lineWidth=p.pen;
  for(const s of p.shapes){
    g.beginPath();s.forEach(([a,b])=>g.lineTo(x/10+a,y/10+b));g.closePath();g.fill();
    if(p.pen)g.stroke();
  }
}
const draw={
  heat(g,p,f){
    const n=p.rows*p.columns,o=p.canvas.getContext("2d"),image=o.createImageData(p.columns,p.rows);
    for(let i=0;i<n;i++){
      const c=3*p.cells[f*n+i];
      for(let k=0;k<3;k++)image.data[4*i+k]=p.colors[c+k];
      image.data[4*i+3]=255;
    }
    o.putImageData(image,0,0);g.imageSmoothingEnabled=false;g.drawImage(p.canvas,...p.box);
  },
  line(g,p,f){pen(g,p);path(g,p.points,0,p.until[f]);},
  stroke(g,p,f){pen(g,p);path(g,p.points,f*p.size,(f+1)*p.size);},
  dot(g,p,f){stamp(g,p,f);},
  dots(g,p,f){for(let i=0;i<p.until[f];i++)stamp(g,p,i);},
  words(g,p,f){
    g.font=p.weight+" "+p.size+"px DejaVu Sans,Verdana,sans-serif";g.fillStyle=p.color;
    g.textAlign={start:"left",middle:"center",end:"right"}[p.align];
    g.textBaseline={top:"top",center:"middle",bottom:"bottom"}[p.base]||"alphabetic";
    p.words[f].split("\\n").forEach((w,i)=>g.fillText(w,p.at[0],p.at[1]+1.2*p.size*i));
  },
  still(g,p){g.drawImage(p.picture,0,0);},
};
async function start(){
  const film=JSON.parse(new TextDecoder().decode(await unpack(packed.film)));
  const bytes=await unpack(packed.bytes),background=await picture(film.background);
  for(const p of film.parts){
    if(p.kind==="heat")cells(p,bytes,film.frames);
    if(p.kind==="still")p.picture=await picture(p.image);
  }
  const c=el("c"),g=c.getContext("2d"),at=el("at"),sharp=window.devicePixelRatio||1;
  c.width=film.width*sharp;c.height=film.height*sharp;c.style.width=film.width+"px";
  el("bar").style.maxWidth=film.width+"px";at.max=film.frames-1;
  let frame=0,timer=null;
  function show(f){
    frame=(f+film.frames)%film.frames;at.value=frame;
    el("n").textContent=(frame+1)+" / "+film.frames;
    g.setTransform(sharp,0,0,sharp,0,0);g.drawImage(background,0,0);
    for(const p of film.parts){
      g.save();
      if(p.clip){g.beginPath();g.rect(...p.clip);g.clip();}
      draw[p.kind](g,p,frame);g.restore();
    }
  }
  function pause(){clearTimeout(timer);timer=null;el("play").textContent="▶";}
  function tick(){
    show(frame+1);
    const last=frame===film.frames-1;
    timer=setTimeout(tick,(last?2000:0)+1000/film.fps/el("speed").value);
  }
  function play(){el("play").textContent="❚❚";tick();}
  el("play").onclick=()=>timer?pause():play();
  at.oninput=()=>{pause();show(+at.value);};
  document.onkeydown=e=>{
    if(e.target.tagName==="SELECT")return;
    if(e.key===" "&&e.target.tagName!=="BUTTON"){e.preventDefault();timer?pause():play();}
    const by={ArrowLeft:-1,ArrowRight:1}[e.key];
    if(by){e.preventDefault();pause();show(frame+by);}
  };
  show(film.frames-1);
  if(!matchMedia("(prefers-reduced-motion: reduce)").matches)play();
}
start().catch(e=>{el("n").textContent="needs a browser of 2023 or later: "+e;});
</script></body></html>
"""
